"""Joins, a procedure, terms and what follows a failure, in Python."""

import then
from then import it

rules = then.Rules()
rules.event("release.wanted", version=str, hosts=list[str])
rules.event("released", text=str)


@rules.task("build")
def build(version):
    return {"image": f"app:{version}"}


@rules.task("scan")
def scan(version):
    return {"holes": version.count("beta")}


@rules.task("install", retry=then.retry(1, backoff="10ms"), limit=(1, it.host))
def install(host, image):
    if host.startswith("broken"):
        raise OSError(f"{host} does not answer")
    return {"host": host}


@rules.when("release.wanted")
def start(wanted):
    yield then.emit("build", version=wanted.body["version"])
    yield then.emit("scan", version=wanted.body["version"]).timeout("1m")


# A record of each, of this flow, in whichever order they come.
@rules.when(
    then.part("release.wanted", as_="wanted"),
    then.part("build", "done", as_="built"),
    then.part("scan", "done", it.holes == 0),
    by=["flow", it.version],
)
def roll_out(wanted, built):
    yield then.call(roll, image=built.result["image"], hosts=wanted.body["hosts"], then=rolled, otherwise=broken)


@rules.when(then.part("build", "done"), then.part("scan", "done", it.holes > 0, as_="scan"), by="flow")
def unsafe(scan):
    yield then.end_flow("failed", f"holes in {scan.body['version']}: {scan.result['holes']}")


@rules.procedure("roll", image=str, hosts=list[str], returns={"count": int})
def roll(image, hosts):
    yield from then.each("install", [{"host": host, "image": image} for host in hosts])


@roll.every("install", "done")
def installed(hosts):
    yield then.return_(count=len(hosts))


@rules.continuation
def rolled(roll):
    yield then.emit("released", text=f"{roll.body['image']} on {roll.result['count']} hosts")


@rules.continuation
def broken(roll):
    yield then.emit("released", text=f"{roll.body['image']} not everywhere: {roll.error['message']}")
