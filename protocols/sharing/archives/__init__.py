"""The experiment as one folder that is read without stimsynth: files, words, index, checksums."""
