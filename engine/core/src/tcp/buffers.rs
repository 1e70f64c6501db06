//! How much may be queued either way: SO_RCVBUF, SO_SNDBUF and TCP_NOTSENT_LOWAT.

use super::Shared;
use super::settings::SettingsId;
use super::tcb::{Events, Tcb};

impl Shared {
    /// The receive buffer that a SYN offers of.
    pub(crate) fn receive_buffer(&self, settings: &SettingsId) -> u32 {
        let options = self.settings.get(settings);
        options.receive_buffer.unwrap_or(self.config.receive_buffer)
    }

    /// The most that it may become.
    pub(crate) fn receive_buffer_max(&self, settings: &SettingsId) -> u32 {
        let options = self.settings.get(settings);
        let grown = self
            .config
            .receive_buffer
            .max(self.config.receive_buffer_max);
        options.receive_buffer.unwrap_or(grown)
    }

    /// The receive buffer of a connection now.
    pub(crate) fn receive_limit(&self, tcb: &Tcb) -> u32 {
        let grown = tcb.cold().and_then(|cold| cold.right_sizing);
        match grown {
            Some(grown) => grown.limit,
            None => self.receive_buffer(&tcb.settings),
        }
    }

    /// SO_SNDBUF of a connection.
    pub(crate) fn send_buffer(&self, tcb: &Tcb) -> u32 {
        let options = self.options(tcb);
        options.send_buffer.unwrap_or(self.config.send_buffer)
    }

    /// Bytes that may be queued now: as far as there is room, and no more unsent
    /// than TCP_NOTSENT_LOWAT.
    pub(crate) fn send_room(&self, tcb: &Tcb) -> u32 {
        let room = self.send_buffer(tcb).saturating_sub(tcb.send_queued);
        match self.options(tcb).notsent_lowat {
            Some(lowat) => room.min(lowat.saturating_sub(tcb.unsent())),
            None => room,
        }
    }

    /// Tells an application that waits for it that there is room again.
    pub(crate) fn wake_writer(&mut self, index: u32, tcb: &mut Tcb) {
        if tcb.events.contains(Events::WANTS_WRITABLE)
            && self.is_worth_writing(tcb)
            && self.send_room(tcb) > 0
        {
            tcb.events.remove(Events::WANTS_WRITABLE);
            self.notify(index, tcb, Events::WRITABLE);
        }
    }

    /// A sixteenth of the send buffer is free, so that an application is not called for
    /// every acknowledgment; or a sixty-fourth is, and no full segment waits: then it is
    /// the buffer that bounds the connection, and what is free of it is lost to it, every
    /// round trip.
    fn is_worth_writing(&self, tcb: &Tcb) -> bool {
        let (buffer, mss) = (self.send_buffer(tcb), u32::from(tcb.mss));
        let part = if tcb.unsent() < mss { 64 } else { 16 };
        let room = buffer.saturating_sub(tcb.send_queued);
        room >= (buffer / part).max(mss).min(buffer / 2)
    }
}
