//! Closures of users in destructors.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what may call closures of users in a destructor. A panic there ends here: it would end the process if another one unwinds
/// already, and fail others than the request that it is about. The process's panic hook has told of it.
pub(crate) fn in_drop(run: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(run)));
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            in_drop(|| panic!("in a destructor"));
        }
    }

    #[test]
    fn a_panic_in_a_destructor_ends_there_also_while_another_one_unwinds() {
        drop(Panics);
        let unwound = catch_unwind(|| {
            let _panics = Panics;
            panic!("outside");
        });
        assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"outside"));
    }
}
