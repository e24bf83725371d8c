//! One shard: reads the clock, runs the engine, carries its outputs out.
