//! Times of 32 bits.

/// Windows up to this can be counted in times of 32 bits, which have to be of much more than one window.
pub(crate) const LONGEST_WINDOW: i64 = 1 << 30;

/// The moment that times of 32 bits are counted from, in milliseconds since 1970. It moves on while time does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Epoch(i64);

impl Epoch {
    /// Returns the latest time that has left the window. The present one is a window later.
    ///
    /// If that is more than 32 bits can tell, the epoch moves, and the `times` with it. Those that have left the window become
    /// 0, which has left it as well.
    #[inline]
    pub(crate) fn horizon<'a, I>(&mut self, now: i64, window: i64, times: impl FnOnce() -> I) -> u32
    where
        I: Iterator<Item = &'a mut u32>,
    {
        match u32::try_from(now - self.0) {
            Ok(time) if i64::from(time) >= window => time - window as u32,
            _ => {
                self.begin(now - window, times());
                0
            }
        }
    }

    #[cold]
    fn begin<'a>(&mut self, epoch: i64, times: impl Iterator<Item = &'a mut u32>) {
        for time in times {
            *time = u32::try_from(self.time(*time) - epoch).unwrap_or(0);
        }
        self.0 = epoch;
    }

    /// Returns a moment as a time of 32 bits; 0 if it was before the epoch.
    pub(crate) fn short(self, moment: i64) -> u32 {
        u32::try_from(moment - self.0).unwrap_or(0)
    }

    /// Returns the moment of a time of 32 bits.
    pub(crate) const fn time(self, time: u32) -> i64 {
        self.0 + time as i64
    }
}
