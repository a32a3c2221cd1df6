"""Which networks exist: space files, rules, draws and the sampler."""
