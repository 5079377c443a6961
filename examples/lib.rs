//! Examples; each is a program of its own in this folder.
