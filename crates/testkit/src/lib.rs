//! Conformance suite, finite differences and reference files for recurrent's own tests.
