//! A short fault run on one broker: what `deploy/chaos` shows at length.

use millrace_tests::chaos::report::{End, table};
use millrace_tests::chaos::run::{Options, run};
use millrace_tests::chaos::schedule::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_crossed_or_unaudited_while_everything_breaks() {
    let options =
        Options { seed: 1, seconds: 10, rate: 30, brokers: 1, kinds: Kind::ALL.to_vec(), sabotage: None, short: true };
    let outcome = run(&options, &|what| println!("{what}")).await;
    let text = table(std::slice::from_ref(&outcome));
    assert_eq!(outcome.end(), End::Held, "\n{text}");
    assert!(outcome.faults.values().sum::<u32>() > 10, "\n{text}");
    assert!(outcome.redelivered > 0 && outcome.verdict.confirmed > 250, "\n{text}");
}
