"""`python -m then`: the same as `andthen`."""

from then.cli.main import main

if __name__ == "__main__":
    main()
