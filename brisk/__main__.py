"""`python -m brisk`: the console command `brisk`."""

from brisk.cli import run

if __name__ == "__main__":
    run()
