// Microsoft's own client for tests of adapters, at a real adapter process for each test.
'use strict'
const assert = require('node:assert')
const path = require('node:path')
const { DebugClient } = require('@vscode/debugadapter-testsupport')

const RULES = path.join(__dirname, 'shop.then')
const PYTHON = process.env.DAP_PYTHON
const RECORDER = process.env.DAP_RECORDER
const PATIENCE_MS = 1000 * Number(process.env.DAP_PATIENCE_S || 120)
const LINES = { procedure: 10, returns: 12, placed: 15, paid: 20, lost: 24, dear: 28 }

let dc

function client(args) {
  const env = { ...process.env, DAP_ARGUMENTS: JSON.stringify(args) }
  const made = new DebugClient(PYTHON, RECORDER, 'then', { env, cwd: __dirname })
  made.defaultTimeout = PATIENCE_MS
  return made
}

async function begin(given = {}, { lines = [], functions, exceptions } = {}) {
  const initialized = dc.waitForEvent('initialized')
  const capabilities = (await dc.initializeRequest()).body
  await initialized
  await dc.launchRequest({ path: RULES, post: 'order', body: { id: 7, total: 450 }, ...given })
  const points = lines.map(one => (typeof one === 'number' ? { line: one } : one))
  const set = await dc.setBreakpointsRequest({ source: { path: RULES }, breakpoints: points })
  if (functions) await dc.setFunctionBreakpointsRequest({ breakpoints: functions })
  if (exceptions) await dc.setExceptionBreakpointsRequest({ filters: exceptions })
  return { capabilities, set: set.body.breakpoints }
}

// The event is waited for before the request that causes it.
async function stopAfter(send) {
  const [stopped] = await Promise.all([dc.waitForEvent('stopped'), send()])
  return stopped.body
}

const go = () => stopAfter(() => dc.configurationDoneRequest())
const top = async threadId => (await dc.stackTraceRequest({ threadId })).body.stackFrames[0]

async function scope(frameId, name) {
  const scopes = (await dc.scopesRequest({ frameId })).body.scopes
  const { variablesReference } = scopes.find(one => one.name === name)
  const { variables } = (await dc.variablesRequest({ variablesReference })).body
  return { variablesReference, ...Object.fromEntries(variables.map(one => [one.name, one])) }
}

const refused = (promise, text) => assert.rejects(promise, error => error.message.includes(text))

describe('andthen debug --dap', function () {
  this.timeout(PATIENCE_MS)

  beforeEach(() => {
    dc = client(['debug', '--dap'])
    return dc.start()
  })
  afterEach(() => dc.stop())

  it('says what it can before it is initialized', async () => {
    const { capabilities } = await begin()
    for (const name of ['ConfigurationDoneRequest', 'FunctionBreakpoints', 'ConditionalBreakpoints', 'StepBack',
      'SetVariable', 'RestartFrame', 'CompletionsRequest', 'ExceptionInfoRequest', 'LogPoints', 'DataBreakpoints',
      'TerminateRequest', 'BreakpointLocationsRequest', 'GotoTargetsRequest']) {
      assert.strictEqual(capabilities[`supports${name}`], true, name)
    }
    assert.deepStrictEqual(capabilities.exceptionBreakpointFilters.map(one => one.filter),
      ['failed', 'timeout', 'unhandled', 'no-match'])
    const ended = dc.waitForEvent('terminated')
    await dc.configurationDoneRequest()
    await ended
  })

  it('stops at a line, shows stack, scopes and variables, and goes on to the end', async () => {
    const { set } = await begin({}, { lines: [LINES.returns] })
    assert.strictEqual(set[0].verified, true)
    const stopped = await go()
    assert.strictEqual(stopped.reason, 'breakpoint')
    assert.deepStrictEqual(stopped.hitBreakpointIds, [set[0].id])
    const { threads } = (await dc.threadsRequest()).body
    assert.strictEqual(threads[0].id, stopped.threadId)
    const trace = (await dc.stackTraceRequest({ threadId: stopped.threadId })).body
    assert.strictEqual(trace.totalFrames, 2)
    assert.strictEqual(trace.stackFrames[0].line, LINES.returns)
    assert.strictEqual(trace.stackFrames[0].source.path, RULES)
    assert.strictEqual(trace.stackFrames[1].line, LINES.placed)
    const page = (await dc.stackTraceRequest({ threadId: stopped.threadId, startFrame: 1, levels: 1 })).body
    assert.strictEqual(page.stackFrames.length, 1)
    assert.strictEqual(page.stackFrames[0].id, trace.stackFrames[1].id)
    assert.strictEqual((await scope(trace.stackFrames[0].id, 'Result')).net.value, '900')
    assert.strictEqual((await scope(trace.stackFrames[1].id, 'Body')).total.value, '450')
    const ended = dc.waitForEvent('terminated')
    const exited = dc.waitForEvent('exited')
    await dc.continueRequest({ threadId: stopped.threadId })
    assert.strictEqual((await exited).body.exitCode, 0)
    await ended
  })

  it('takes configurationDone before launch as well', async () => {
    const initialized = dc.waitForEvent('initialized')
    await dc.initializeRequest()
    await initialized
    const { body } = await dc.setBreakpointsRequest({ source: { path: RULES }, breakpoints: [{ line: LINES.paid }] })
    assert.strictEqual(body.breakpoints[0].verified, false)
    await dc.configurationDoneRequest()
    const changed = dc.waitForEvent('breakpoint')
    const stopped = await stopAfter(
      () => dc.launchRequest({ path: RULES, post: 'order', body: { id: 7, total: 450 } }))
    assert.strictEqual((await changed).body.breakpoint.verified, true)
    assert.strictEqual((await top(stopped.threadId)).line, LINES.paid)
  })

  it('steps in, over and out', async () => {
    await begin({ stopOnEntry: true })
    const { threadId, reason } = await go()
    assert.strictEqual(reason, 'entry')
    assert.strictEqual((await top(threadId)).line, LINES.placed)
    assert.strictEqual((await stopAfter(() => dc.stepInRequest({ threadId }))).reason, 'step')
    assert.match((await top(threadId)).name, /^price/)
    await stopAfter(() => dc.stepOutRequest({ threadId }))
    assert.match((await top(threadId)).name, /^tax/)
    await stopAfter(() => dc.nextRequest({ threadId }))
    assert.match((await top(threadId)).name, /^charge/)
  })

  it('next goes past what a call does', async () => {
    await begin({}, { functions: [{ name: 'tax' }] })
    const { threadId, reason } = await go()
    assert.strictEqual(reason, 'function breakpoint')
    await stopAfter(() => dc.nextRequest({ threadId }))
    assert.match((await top(threadId)).name, /^tax/)
  })

  it('has conditions, hit counts, logpoints, and says what is wrong with one', async () => {
    const { set } = await begin({}, {
      lines: [
        { line: LINES.paid, condition: 'amount > 5000' },
        { line: LINES.lost, hitCondition: 'often' },
        { line: LINES.returns, logMessage: 'priced at {net}' },
      ],
      functions: [{ name: 'charge', condition: 'amount ==' }],
    })
    assert.deepStrictEqual(set.map(one => one.verified), [true, false, true])
    assert.match(set[1].message, /often/)
    const ended = dc.waitForEvent('terminated')
    const printed = dc.assertOutput('console', 'priced at 900', PATIENCE_MS)
    await dc.configurationDoneRequest()
    await Promise.all([printed, ended])
  })

  it('says where breakpoints may be', async () => {
    await begin()
    const { body } = await dc.send('breakpointLocations', { source: { path: RULES }, line: 1, endLine: 30 })
    assert.deepStrictEqual(body.breakpoints.map(one => one.line), [10, 12, 15, 20, 24, 28])
  })

  it('stops on failures, and tells of them', async () => {
    await begin({ body: { id: 7, total: 4500 } }, { exceptions: ['failed'] })
    const { threadId, reason } = await go()
    assert.strictEqual(reason, 'exception')
    const { body } = await dc.exceptionInfoRequest({ threadId })
    assert.strictEqual(body.exceptionId, 'exit')
    assert.match(body.details.stackTrace, /out of paper/)
    const frame = await top(threadId)
    assert.strictEqual(frame.canRestart, true)
    assert.strictEqual((await stopAfter(() => dc.restartFrameRequest({ frameId: frame.id }))).reason, 'exception')
    const exited = dc.waitForEvent('exited')
    await dc.continueRequest({ threadId })
    assert.strictEqual((await exited).body.exitCode, 1)
  })

  it('stops on failures that nothing takes up, and on what no rule is for', async () => {
    await begin({ body: { id: 7, total: 4500 } }, { exceptions: ['unhandled', 'no-match'] })
    assert.strictEqual((await go()).reason, 'exception')
  })

  it('changes what is held, and refuses what is not as declared', async () => {
    await begin({}, { lines: [LINES.returns] })
    const { threadId } = await go()
    const frame = await top(threadId)
    const { variablesReference } = await scope(frame.id, 'Result')
    await refused(dc.setVariableRequest({ variablesReference, name: 'net', value: '"dear"' }), 'net')
    await refused(dc.setVariableRequest({ variablesReference, name: 'net', value: 'dear' }), 'no JSON')
    const { body } = await dc.setVariableRequest({ variablesReference, name: 'net', value: '451' })
    assert.strictEqual(body.value, '451')
    await stopAfter(() => dc.stepOutRequest({ threadId }))
    assert.strictEqual((await scope((await top(threadId)).id, 'Result')).amount.value, '451')
  })

  it('evaluates expressions and commands', async () => {
    await begin({}, { lines: [LINES.returns] })
    const { threadId } = await go()
    const frameId = (await top(threadId)).id
    const evaluate = async (expression, context) => (await dc.evaluateRequest({ expression, context, frameId })).body
    assert.strictEqual((await evaluate('net * 2', 'watch')).result, '1800')
    assert.strictEqual((await evaluate('net', 'hover')).result, '900')
    assert.strictEqual((await evaluate('net', 'clipboard')).result, '900')
    assert.match((await evaluate('where', 'repl')).result, /^#0 {2}price/)
    await refused(dc.evaluateRequest({ expression: 'net +', context: 'watch', frameId }), 'net +')
    const stopped = await stopAfter(() => dc.evaluateRequest({ expression: 'next', context: 'repl', frameId }))
    assert.strictEqual(stopped.reason, 'step')
  })

  it('completes commands and names', async () => {
    await begin({ stopOnEntry: true })
    await go()
    const { body } = await dc.completionsRequest({ text: 'conti', column: 6 })
    assert.deepStrictEqual(body.targets.map(one => one.label), ['continue'])
  })

  it('stops when a variable of the flow was written', async () => {
    await begin({ stopOnEntry: true })
    const { threadId } = await go()
    const frameId = (await top(threadId)).id
    const { body } = await dc.dataBreakpointInfoRequest({ name: 'billed', frameId })
    const set = await dc.setDataBreakpointsRequest({ breakpoints: [{ dataId: body.dataId, accessType: 'write' }] })
    assert.strictEqual(set.body.breakpoints[0].verified, true)
    const stopped = await stopAfter(() => dc.continueRequest({ threadId }))
    assert.strictEqual(stopped.reason, 'data breakpoint')
    assert.match(stopped.text, /billed was missing, is 900/)
  })

  it('looks at the past, which nobody changes', async () => {
    await begin({}, { lines: [LINES.returns, LINES.paid] })
    const { threadId } = await go()
    await stopAfter(() => dc.continueRequest({ threadId }))
    const stopped = await stopAfter(() => dc.reverseContinueRequest({ threadId }))
    assert.match(stopped.text, /past/)
    let frame = await top(threadId)
    assert.match(frame.name, /\(past\)/)
    const { variablesReference } = await scope(frame.id, 'Body')
    await refused(dc.setVariableRequest({ variablesReference, name: 'id', value: '8' }), 'cannot be changed')
    await stopAfter(() => dc.stepBackRequest({ threadId }))
    await stopAfter(() => dc.continueRequest({ threadId }))
    frame = await top(threadId)
    assert.doesNotMatch(frame.name, /\(past\)/)
    assert.strictEqual(frame.line, LINES.paid)
  })

  it('has another rule answer', async () => {
    await begin({}, { lines: [LINES.paid] })
    const { threadId } = await go()
    const { body } = await dc.gotoTargetsRequest({ source: { path: RULES }, line: LINES.lost })
    assert.deepStrictEqual(body.targets.map(one => one.label), ['lost'])
    const stopped = await stopAfter(() => dc.gotoRequest({ threadId, targetId: body.targets[0].id }))
    assert.strictEqual(stopped.reason, 'goto')
    assert.strictEqual((await top(threadId)).line, LINES.lost)
    await stopAfter(() => dc.nextRequest({ threadId }))
    assert.match((await top(threadId)).name, /^refuse/)
  })

  it('pauses at the next record that ends, and terminates', async () => {
    await begin({ stopOnEntry: true })
    const { threadId } = await go()
    const stopped = await stopAfter(() =>
      Promise.all([dc.pauseRequest({ threadId }), dc.stepInRequest({ threadId })]))
    assert.ok(['pause', 'step'].includes(stopped.reason))
    const ended = dc.waitForEvent('terminated')
    await dc.terminateRequest()
    await ended
  })

  it('references of a thread that went on are gone', async () => {
    await begin({ stopOnEntry: true })
    const { threadId } = await go()
    const frame = await top(threadId)
    const { variablesReference } = await scope(frame.id, 'Body')
    await stopAfter(() => dc.nextRequest({ threadId }))
    await refused(dc.scopesRequest({ frameId: frame.id }), 'none any more')
    await refused(dc.variablesRequest({ variablesReference }), 'none any more')
  })

  it('refuses every other request', async () => {
    await begin({ stopOnEntry: true })
    const { threadId } = await go()
    for (const command of ['readMemory', 'writeMemory', 'disassemble', 'setInstructionBreakpoints', 'modules',
      'stepInTargets', 'restart', 'cancel', 'nonsense']) {
      await refused(dc.send(command, {}), `request "${command}" is not answered here`)
    }
    await refused(dc.sourceRequest({ sourceReference: 99 }), 'source 99')
    await refused(dc.stackTraceRequest({ threadId: threadId + 1 }), 'is no flow')
    await refused(dc.send('setBreakpoints', {}), 'setBreakpoints')
  })
})
