//! Questions that are asked of every byte, and places in lists.

/// A number of 32 bits as a place in a list.
pub(crate) fn to_usize(number: u32) -> usize {
    usize::try_from(number).expect("a usize has at least 32 bits on every platform this runs on")
}

/// Whether any byte is such a one. Told without a branch for each, many at once: nearly always none is.
///
/// * `is`: without `&&` and `||`, which are branches and would be taken byte by byte.
#[inline]
pub(crate) fn holds(text: &[u8], is: impl Fn(u8) -> bool) -> bool {
    // Of a known length, sixteen bytes are a few instructions: so the last block may overlap the one before.
    let any = |block: &[u8; 16]| block.iter().fold(0, |any, &byte| any | u8::from(is(byte))) != 0;
    let Some(last) = text.last_chunk() else {
        return text.iter().fold(false, |any, &byte| any | is(byte));
    };
    let (blocks, _) = text.as_chunks();
    blocks.iter().any(any) || any(last)
}

/// The same byte eight times.
pub(crate) const fn eight(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_byte_is_held_wherever_it_stands(len in 0..70_usize, at in 0..70_usize) {
            let mut text = vec![b'a'; len];
            if let Some(byte) = text.get_mut(at) {
                *byte = b'b';
            }
            prop_assert_eq!(holds(&text, |byte| byte == b'b'), at < len);
        }
    }
}
