//! The platform's fee: `round_half_even(amount * bps / 10_000) + fixed[currency]`, in whole minor units. No floating
//! point anywhere, and one rounding.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::Currency;

/// Basis points in a whole.
const WHOLE: u16 = 10_000;
/// Digits of a fraction that are whole basis points.
const POINT_DIGITS: u8 = 4;

/// Hundredths of a percent, at most a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BasisPoints(u16);

/// Why a text is no fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeeFault {
    /// Not digits with at most one point.
    #[error("must be digits with at most one point, such as 0.25")]
    NoDecimal,
    /// More digits than the unit has.
    #[error("has more digits after the point than can be kept exactly")]
    TooFine,
    /// Above the bound.
    #[error("is too large")]
    TooLarge,
}

impl BasisPoints {
    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl FromStr for BasisPoints {
    type Err = FeeFault;

    /// Reads a fraction of one: `0.005` is 50. What is not whole basis points is refused, not rounded.
    fn from_str(text: &str) -> Result<Self, FeeFault> {
        let points = scaled(text, POINT_DIGITS)?;
        u16::try_from(points).ok().filter(|points| *points <= WHOLE).map(Self).ok_or(FeeFault::TooLarge)
    }
}

/// What is taken of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeeSchedule {
    share: BasisPoints,
    fixed: FixedPart,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FixedPart {
    /// The specification's 0.25: minor units in every currency that has two digits, nothing in others.
    TwoDigits(i64),
    /// By code; a currency that is not named has none.
    Named(BTreeMap<&'static str, i64>),
}

impl Default for FeeSchedule {
    /// The specification's 0.5 % and 0.25.
    fn default() -> Self {
        Self { share: BasisPoints(50), fixed: FixedPart::TwoDigits(25) }
    }
}

impl FeeSchedule {
    /// The same fixed part with another share.
    #[must_use]
    pub fn with_share(mut self, share: BasisPoints) -> Self {
        self.share = share;
        self
    }

    /// The same share with a fixed part for each of these currencies and for no other, as [`fixed_part`] reads them.
    #[must_use]
    pub fn with_fixed(mut self, fixed: impl IntoIterator<Item = (Currency, i64)>) -> Self {
        self.fixed = FixedPart::Named(fixed.into_iter().map(|(currency, units)| (currency.code(), units)).collect());
        self
    }

    /// The share of each payment.
    pub fn share(&self) -> BasisPoints {
        self.share
    }

    /// The fixed part in the provider's units.
    pub fn fixed(&self, currency: Currency) -> i64 {
        match &self.fixed {
            FixedPart::TwoDigits(units) if currency.digits() == 2 && currency.billed_digits() == 2 => *units,
            FixedPart::TwoDigits(_) => 0,
            FixedPart::Named(named) => named.get(currency.code()).copied().unwrap_or(0),
        }
    }

    /// The fee on an amount; never below nothing and never above the amount.
    pub fn fee(&self, amount: i64, currency: Currency) -> i64 {
        if amount <= 0 {
            return 0;
        }
        let share = half_even(i128::from(amount) * i128::from(self.share.get()), i128::from(WHOLE));
        let fee = (share + i128::from(self.fixed(currency))).clamp(0, i128::from(amount));
        // Not above an amount that is an i64 itself.
        i64::try_from(fee).unwrap_or(amount)
    }
}

/// Reads a fixed part such as `0.25` into the units in which the provider counts.
///
/// # Errors
/// [`FeeFault`]: what the currency has no unit for is refused, not rounded.
pub fn fixed_part(text: &str, currency: Currency) -> Result<i64, FeeFault> {
    let (minor, billed) = (currency.digits(), currency.billed_digits());
    scaled(text, minor)?;
    let units = scaled(text, billed)?;
    i64::try_from(units).map_err(|_| FeeFault::TooLarge)
}

/// What of a fee goes back when an object's refunds grow from `before` to `after` of the paid `amount`. The steps of one
/// object add up exactly, and all of them together never exceed the fee: each total is rounded down.
pub fn returned(fee: i64, amount: i64, before: i64, after: i64) -> i64 {
    if amount <= 0 {
        return 0;
    }
    let total = |refunded: i64| i128::from(fee.max(0)) * i128::from(refunded.clamp(0, amount)) / i128::from(amount);
    i64::try_from((total(after) - total(before)).max(0)).unwrap_or(fee)
}

/// Money that went back of a paid amount, or came again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// An object's refunds grew from one total to another.
    Back {
        /// Minor units before.
        before: i64,
        /// Minor units after.
        after: i64,
    },
    /// A refund of so much failed.
    Again(i64),
}

impl Moved {
    /// Minor units that moved.
    pub fn amount(self) -> i64 {
        match self {
            Self::Back { before, after } => after.saturating_sub(before).max(0),
            Self::Again(amount) => amount.max(0),
        }
    }

    /// What of a fee goes along; below nothing for what came again. It is rounded down, so what came again takes back no more
    /// than was given for it.
    fn share(self, fee: i64, amount: i64) -> i128 {
        match self {
            Self::Back { before, after } => i128::from(returned(fee, amount, before, after)),
            Self::Again(again) => -i128::from(returned(fee, amount, 0, again)),
        }
    }
}

/// What each of these gives back of a fee, after the others have been placed: below nothing where the fee is taken again. All
/// of them together give back the sum of their shares, between nothing and the fee; so whatever the order in which they
/// become known, the same is given in the end.
pub fn placed(fee: i64, amount: i64, before: &[Moved], new: &[Moved]) -> Vec<i64> {
    let fee = fee.max(0);
    let given = |shares: i128| i64::try_from(shares.clamp(0, i128::from(fee))).unwrap_or(fee);
    let mut shares: i128 = before.iter().map(|moved| moved.share(fee, amount)).sum();
    let places = new.iter().map(|moved| {
        let given_before = given(shares);
        shares += moved.share(fee, amount);
        given(shares) - given_before
    });
    places.collect()
}

/// Rounds to the nearest whole, and from the middle to the even one. Both are not negative.
fn half_even(numerator: i128, denominator: i128) -> i128 {
    let (whole, rest) = (numerator / denominator, numerator % denominator);
    let up = rest * 2 > denominator || (rest * 2 == denominator && whole % 2 == 1);
    whole + i128::from(up)
}

/// A decimal text times ten to the number of digits; trailing zeros beyond them are no difference.
fn scaled(text: &str, digits: u8) -> Result<i128, FeeFault> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) {
        return Err(FeeFault::NoDecimal);
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = usize::from(digits);
    if fraction.len() > digits {
        return Err(FeeFault::TooFine);
    }
    let number = format!("{whole}{fraction:0<digits$}");
    let number = number.trim_start_matches('0');
    if number.is_empty() { Ok(0) } else { number.parse().map_err(|_| FeeFault::TooLarge) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    /// What a charge's refunds say as they are made, one after the other, some of which fail at once; and what has gone back
    /// for good. The parts are thousandths of what is left.
    fn history(amount: i64, parts: &[(i64, bool)]) -> (Vec<Moved>, i64) {
        let (mut events, mut total) = (Vec::new(), 0);
        for (part, fails) in parts {
            let refund = (amount - total) * part / 1_000;
            if refund == 0 {
                continue;
            }
            events.push(Moved::Back { before: total, after: total + refund });
            match fails {
                true => events.push(Moved::Again(refund)),
                false => total += refund,
            }
        }
        (events, total)
    }

    /// Amount, currency, fee of the specification's 0.5 % + 0.25.
    const GOLDEN: [(i64, &str, i64); 17] = [
        (2_900, "eur", 39), // 14.5 goes to 14, which is even
        (3_100, "eur", 41), // 15.5 goes to 16
        (100, "eur", 25),   // 0.5 goes to 0
        (300, "eur", 27),   // 1.5 goes to 2
        (10_000, "usd", 75),
        (25, "usd", 25),
        (26, "usd", 25),
        (24, "usd", 24), // never above the amount
        (1, "usd", 1),
        (0, "usd", 0),
        (-5, "usd", 0),
        (1_000, "jpy", 5), // no fixed part where there are no hundredths
        (100, "jpy", 0),
        (10_000, "kwd", 50),
        (2_000, "isk", 10),
        (i64::MAX, "usd", 46_116_860_184_273_904),
        (9_999_999_999, "gbp", 50_000_025),
    ];

    #[test]
    fn the_specifications_fee_is_this() {
        let schedule = FeeSchedule::default();
        for (amount, code, fee) in GOLDEN {
            assert_eq!(schedule.fee(amount, currency(code)), fee, "{amount} {code}");
        }
    }

    #[test]
    fn percentages_are_read_exactly_or_not_at_all() {
        let points = |text: &str| text.parse::<BasisPoints>().map(BasisPoints::get);
        for (text, wanted) in
            [("0.005", 50), ("0.0050", 50), ("0.00500000", 50), ("0", 0), ("1", 10_000), ("0.0001", 1)]
        {
            assert_eq!(points(text), Ok(wanted), "{text}");
        }
        for (text, fault) in [
            ("0.00505", FeeFault::TooFine),
            ("1.0001", FeeFault::TooLarge),
            ("99999999999999999999999999999999999999999", FeeFault::TooLarge),
            ("-0.1", FeeFault::NoDecimal),
            ("5%", FeeFault::NoDecimal),
            ("0,5", FeeFault::NoDecimal),
            ("1e-3", FeeFault::NoDecimal),
            (".5", FeeFault::NoDecimal),
            ("5.", FeeFault::NoDecimal),
            ("", FeeFault::NoDecimal),
            ("٠", FeeFault::NoDecimal),
        ] {
            assert_eq!(points(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn fixed_parts_are_counted_as_the_provider_counts() {
        for (text, code, units) in
            [("0.25", "usd", 25), ("25", "jpy", 25), ("0.025", "kwd", 25), ("25", "isk", 2_500), ("5", "mga", 5)]
        {
            assert_eq!(fixed_part(text, currency(code)), Ok(units), "{text} {code}");
        }
        // A yen has no hundredths, a crown of Iceland neither, and Stripe counts whole ariary.
        for (text, code) in [("0.25", "jpy"), ("0.255", "usd"), ("0.25", "isk"), ("0.5", "mga")] {
            assert_eq!(fixed_part(text, currency(code)), Err(FeeFault::TooFine), "{text} {code}");
        }
        assert_eq!(fixed_part("99999999999999999999", currency("usd")), Err(FeeFault::TooLarge));
    }

    #[test]
    fn a_named_fixed_part_is_for_its_currency_alone() {
        let schedule = FeeSchedule::default().with_fixed([(currency("jpy"), 30)]);
        assert_eq!(schedule.fee(1_000, currency("jpy")), 35);
        assert_eq!(schedule.fee(1_000, currency("usd")), 5);
    }

    proptest! {
        #[test]
        fn a_fee_lies_between_nothing_and_the_amount(
            amount in any::<i64>(), points in 0_u16..=WHOLE, fixed in 0..i64::MAX, code in "eur|jpy|kwd",
        ) {
            let schedule = FeeSchedule::default().with_share(BasisPoints(points)).with_fixed([(currency(&code), fixed)]);
            let fee = schedule.fee(amount, currency(&code));
            prop_assert!((0..=amount.max(0)).contains(&fee));
        }

        #[test]
        fn a_fee_grows_with_its_amount(amount in 0..i64::MAX / 2, more in 0..1_000_000_i64) {
            let schedule = FeeSchedule::default();
            let eur = currency("eur");
            prop_assert!(schedule.fee(amount, eur) <= schedule.fee(amount + more, eur));
        }

        #[test]
        fn rounding_is_half_even(numerator in 0..i64::MAX, denominator in 1..1_000_000_i64) {
            let (n, d) = (i128::from(numerator), i128::from(denominator));
            let off = (half_even(n, d) * d - n).abs() * 2;
            prop_assert!(off < d || (off == d && half_even(n, d) % 2 == 0));
        }

        #[test]
        fn whatever_the_steps_all_of_the_fee_goes_back_and_not_more(
            amount in 1..1_000_000_000_i64, share in 0..=1_000_i64, mut cuts in proptest::collection::vec(0..=1_000_i64, 0..8),
        ) {
            let fee = amount * share / 1_000;
            cuts.sort_unstable();
            let totals: Vec<i64> = [0].into_iter().chain(cuts.iter().map(|cut| amount * cut / 1_000)).chain([amount]).collect();
            let sum: i64 = totals.windows(2).map(|step| returned(fee, amount, step[0], step[1])).sum();
            prop_assert_eq!(sum, fee);
        }

        #[test]
        fn the_refunds_of_several_charges_never_exceed_the_fee(
            parts in proptest::collection::vec(1..1_000_000_i64, 1..8), share in 0..=1_000_i64,
        ) {
            let amount: i64 = parts.iter().sum();
            let fee = amount * share / 1_000;
            prop_assert!(parts.iter().map(|part| returned(fee, amount, 0, *part)).sum::<i64>() <= fee);
        }

        #[test]
        fn strange_numbers_overflow_nowhere(fee in any::<i64>(), amount in any::<i64>(), a in any::<i64>(), b in any::<i64>()) {
            prop_assert!(returned(fee, amount, a, b) >= 0);
            let places = placed(fee, amount, &[Moved::Again(a)], &[Moved::Back { before: a, after: b }, Moved::Again(b)]);
            prop_assert!(places.iter().sum::<i64>().abs() <= fee.max(0));
        }

        #[test]
        fn refunds_that_fail_and_are_made_again_end_in_the_same_sum_in_every_order(
            (amount, share, parts) in (1_000..1_000_000_i64, 0..=1_000_i64, proptest::collection::vec((1..=1_000_i64, any::<bool>()), 1..8)),
            order in proptest::collection::vec(any::<u32>(), 16), cut in 0_usize..16,
        ) {
            let fee = amount * share / 1_000;
            let (events, net) = history(amount, &parts);
            let mut shuffled: Vec<(u32, Moved)> = order.iter().cycle().zip(&events).map(|(key, moved)| (*key, *moved)).collect();
            shuffled.sort_by_key(|(key, _)| *key);
            let shuffled: Vec<Moved> = shuffled.into_iter().map(|(_, moved)| moved).collect();
            let (first, rest) = shuffled.split_at(cut.min(shuffled.len()));
            let mut given = 0;
            for place in placed(fee, amount, &[], first).into_iter().chain(placed(fee, amount, first, rest)) {
                given += place;
                prop_assert!((0..=fee).contains(&given));
            }
            prop_assert_eq!(given, placed(fee, amount, &[], &events).iter().sum::<i64>());
            // Each failure leaves at most one unit with the tenant, by rounding.
            let failures = parts.iter().filter(|(_, fails)| *fails).count() as i64;
            let exact = returned(fee, amount, 0, net);
            prop_assert!((exact..=exact + failures).contains(&given), "{given} of {exact}");
        }

        #[test]
        fn the_sign_of_a_place_says_which_way_the_fee_went(
            fee in 0..10_000_i64, before in 0..10_000_i64, more in 1..10_000_i64, again in 1..10_000_i64,
        ) {
            let back = Moved::Back { before, after: before + more };
            for (all, known) in [(vec![], vec![back, Moved::Again(again)]), (vec![back], vec![Moved::Again(again), back])] {
                for (place, moved) in placed(fee, 10_000, &all, &known).into_iter().zip(known) {
                    let wanted = if matches!(moved, Moved::Again(_)) { place <= 0 } else { place >= 0 };
                    prop_assert!(wanted && place.abs() <= moved.amount());
                }
            }
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<BasisPoints>();
            let _ = fixed_part(&text, currency("kwd"));
        }
    }
}
