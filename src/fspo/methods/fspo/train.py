"""Trains FSPO: the run of `learning/` as it is."""

from fspo.learning.train import train as train
