"""VS Code itself, as code-server in a browser: `tox -e vscode`."""
