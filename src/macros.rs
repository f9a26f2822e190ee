//! Macros for code that several files would repeat.

/// Defines `get_ref`, `get_mut` and `into_inner` of a middleware whose field `inner` is its inner service.
macro_rules! inner_service_accessors {
    ($visibility:vis) => {
        /// Returns a reference to the inner service.
        $visibility const fn get_ref(&self) -> &S {
            &self.inner
        }

        /// Returns a mutable reference to the inner service.
        $visibility const fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Consumes this and returns the inner service.
        $visibility fn into_inner(self) -> S {
            self.inner
        }
    };
}
