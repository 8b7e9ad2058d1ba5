"""`python -m cpixelcnn`, which is what launchers such as torchrun start."""

from cpixelcnn.cli.interrupt import main

if __name__ == "__main__":
    main()
