//! Lists of numbers such as `0-3,7`, by which the kernel names processors and memory nodes.

/// No machine numbers its processors or nodes higher; a mask for more would only fill the memory. As for runc.
const NUMBER_MAX: u32 = 64 * 1024;

/// Reads a list as a mask of bits, the lowest number in the first word. An empty list is an empty mask.
///
/// Spaces around the parts and empty parts count for nothing, as in the kernel's own reading of them.
pub(super) fn mask(list: &str) -> Result<Vec<u64>, String> {
    let mut mask = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("invalid range: {part}"));
        }
        let words = last as usize / 64 + 1;
        if mask.len() < words {
            mask.resize(words, 0u64);
        }
        for n in first..=last {
            mask[n as usize / 64] |= 1 << (n % 64);
        }
    }
    Ok(mask)
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if number <= NUMBER_MAX => Ok(number),
        Ok(_) => Err(format!("values larger than {NUMBER_MAX} are not supported")),
        Err(e) => Err(format!("{text:?}: {e}")),
    }
}

/// How many numbers a mask holds.
pub(super) fn count(mask: &[u64]) -> u32 {
    mask.iter().map(|word| word.count_ones()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_does() {
        assert!(mask("").unwrap().is_empty());
        assert_eq!(mask("0-3,7").unwrap(), [0b1000_1111]);
        assert_eq!(mask(" 1 ,, 64,").unwrap(), [2, 1]);
        for list in ["a", "-", "1-", "3-1", "0-9876543210", "65537", "-1", "1--2", "1:2"] {
            assert!(mask(list).is_err(), "{list:?}");
        }
    }

    proptest! {
        #[test]
        fn every_number_named_is_in_the_mask_and_no_other(numbers in proptest::collection::btree_set(0u32..2000, 0..40)) {
            let list: Vec<String> = numbers.iter().map(u32::to_string).collect();
            let mask = mask(&list.join(",")).unwrap();
            prop_assert_eq!(count(&mask) as usize, numbers.len());
            for n in numbers {
                prop_assert!(mask[n as usize / 64] >> (n % 64) & 1 == 1);
            }
        }

        #[test]
        fn nothing_panics(list in "[0-9, -]{0,30}") {
            let _any = mask(&list);
        }
    }
}
