//! Memory asked for ahead of its use.

/// Has the processor fetch the cache line that holds `bytes[at]`, if there is such a byte, and does not wait.
/// Where the processor has no safe way to be asked, nothing happens.
#[inline]
pub fn fetch(bytes: &[u8], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(byte) = bytes.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86_64 processor has the instruction, and it changes nothing that a program can see;
        // the address is that of a byte in `bytes`.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, at);
}
