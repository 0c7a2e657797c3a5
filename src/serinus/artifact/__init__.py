"""What a version is: its manifest, the digests of its files, the contract that serving obeys."""
