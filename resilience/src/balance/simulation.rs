//! Whole upstreams in virtual time: what each method makes of servers that are equal, slow, full or gone.
