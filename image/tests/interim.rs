//! Answers that only announce another one.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use appc_image::Error;
use appc_image::fetch::http::{Client, Options, Patience};

/// A server that says `answer` `times` times and then "hello", and its count of the bytes that it could say.
fn announcing(answer: &'static str, times: usize, pause: Duration) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let said = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&said);
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.read_exact(&mut [0; 4]).unwrap();
        for _ in 0..times {
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
            count.fetch_add(answer.len(), Ordering::Relaxed);
            thread::sleep(pause);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    });
    (format!("http://{address}/"), said)
}

fn client() -> Client {
    let second = Duration::from_secs(1);
    let patience = Patience { connect: second, answer: second, idle: second, window: second, least: 1 };
    Client::new(Options { insecure_http: true, patience, ..Options::default() }).unwrap()
}

const ANSWERS: [&str; 3] = [
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 102 Processing\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
];

#[test]
fn some_are_skipped() {
    for answer in ANSWERS {
        let (url, _) = announcing(answer, 3, Duration::from_millis(10));
        assert_eq!(client().get(&url).send().unwrap().bytes(5).unwrap(), b"hello", "{answer}");
    }
}

#[test]
fn a_flood_of_them_has_an_end() {
    for answer in ANSWERS {
        for pause in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(200)] {
            let (url, said) = announcing(answer, usize::MAX, pause);
            let begun = Instant::now();
            let error = match client().get(&url).send() {
                Err(Error::Fetch { why, .. }) => why,
                other => panic!("{other:?}"),
            };
            let (took, said) = (begun.elapsed(), said.load(Ordering::Relaxed));
            assert!(
                took < Duration::from_secs(5) && said < 64 << 20,
                "{answer:?}, {pause:?}: {error}: {took:?}, {said}"
            );
        }
    }
}
