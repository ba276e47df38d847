"""The file that `make run` and a Hugging Face Space start; the app itself is `brisk.app`."""

from brisk.app import run

if __name__ == "__main__":
    run()
