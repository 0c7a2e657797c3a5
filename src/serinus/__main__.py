"""`python -m serinus`."""

from serinus.cli import main

if __name__ == "__main__":
    main()
