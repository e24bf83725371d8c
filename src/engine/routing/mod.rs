//! Where a request goes: (request, bindings, rules) to targets.
