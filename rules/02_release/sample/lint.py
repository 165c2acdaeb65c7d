"""A small lint with what Python brings: every file compiles without a warning, has a docstring and no tab."""

import ast
import sys
from pathlib import Path

findings = []
for path in sorted(Path(sys.argv[1]).rglob("*.py")):
    text = path.read_text()
    tree = compile(text, str(path), "exec", ast.PyCF_ONLY_AST)
    compile(tree, str(path), "exec")
    if ast.get_docstring(tree) is None:
        findings.append(f"{path}:1: no docstring")
    findings += [f"{path}:{n}: a tab" for n, line in enumerate(text.splitlines(), 1) if "\t" in line]
print(*findings, sep="\n")
sys.exit(bool(findings))
