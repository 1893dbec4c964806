//! A limit on the time that the head of a request takes.
//!
//! hyper has one too. But it also counts the time before a head begins, and closes the connection without an answer. Here, idle
//! connections outlive those of the load balancer in front, and an incomplete head gets 408 soon.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long a head may take from its first byte.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// The answer to an incomplete head (RFC 9110, section 15.5.9).
const REQUEST_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A connection that ends if the head of a request takes too long.
#[derive(Debug)]
pub(super) struct Patient {
    stream: TcpStream,
    progress: Progress,
    /// The end of the time for the current head, and the phase in which the head began.
    head: Option<(usize, Pin<Box<Sleep>>)>,
}

/// The phase of a connection: even between requests and while a head arrives, odd while a request is answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicUsize>);

/// A running request. Dropping it ends the request.
#[derive(Debug)]
pub(super) struct UnderWay(Progress);

impl Progress {
    /// Ends the head, and begins the request.
    pub(super) fn begin(&self) -> UnderWay {
        self.0.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    fn phase(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Patient {
    pub(super) fn new(stream: TcpStream) -> (Self, Progress) {
        let progress = Progress::default();
        (Self { stream, progress: progress.clone(), head: None }, progress)
    }

    /// Returns whether the current head has taken too long.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let phase = self.progress.phase();
        self.head.take_if(|(began, _)| *began != phase);
        self.head.as_mut().is_some_and(|(_, end)| end.as_mut().poll(cx).is_ready())
    }
}

impl AsyncRead for Patient {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let phase = this.progress.phase();
        let is_between_requests = phase.is_multiple_of(2);
        if buffer.filled().len() > filled
            && is_between_requests
            && this.head.as_ref().is_none_or(|(began, _)| *began != phase)
        {
            this.head = Some((phase, Box::pin(sleep(HEAD_TIME_MAX))));
        }
        if polled.is_pending() && this.is_late(cx) {
            // The client may not read this answer. For hyper the connection has ended.
            let _ = this.stream.try_write(REQUEST_TIMEOUT);
            return Poll::Ready(Ok(()));
        }
        polled
    }
}

impl AsyncWrite for Patient {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, buffers)
    }
}
