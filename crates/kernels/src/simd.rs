//! Functions compiled for the instruction set that is found at run time.

/// Runs `pass` compiled for the widest vectors of this processor. `pass` must be `#[inline(always)]`.
///
/// # Panics
/// As `pass`.
#[inline]
pub(crate) fn widest<P: Pass>(pass: P) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512vl")
            && std::arch::is_x86_feature_detected!("avx512dq")
        {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { avx512(pass) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { avx2(pass) };
        }
    }
    pass.run();
}

/// Work whose inner loops vectorise.
pub(crate) trait Pass {
    /// Does it; `#[inline(always)]`.
    fn run(self);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
fn avx512<P: Pass>(pass: P) {
    pass.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<P: Pass>(pass: P) {
    pass.run();
}
