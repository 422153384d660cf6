from edgevad.cli import main

main()
