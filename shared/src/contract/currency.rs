//! ISO 4217: how many digits of a currency its minor unit has. A table without a fallback: taking 2 for what is not
//! there turns yen into hundredths.

/// Codes in use, by the digits of their minor unit. `ANG` and `BGN` have been withdrawn and stand on older invoices.
const CODES: [(u8, &str); 4] = [
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
    (
        2,
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF \
         CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF \
         IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN \
         MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS \
         SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
];

/// Where Stripe counts in another unit than ISO 4217 names: two digits that are always 00, or none.
const STRIPE_COUNTS: [(&str, u8); 3] = [("ISK", 2), ("MGA", 0), ("UGX", 2)];

/// A currency that the table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Currency {
    code: &'static str,
    digits: u8,
}

/// The table has no such code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no currency code of ISO 4217")]
pub struct UnknownCurrency;

impl Currency {
    /// Reads a code in upper or lower case.
    ///
    /// # Errors
    /// [`UnknownCurrency`]; nothing is assumed about it.
    pub fn parse(text: &str) -> Result<Self, UnknownCurrency> {
        let all = CODES.iter().flat_map(|(digits, codes)| codes.split_ascii_whitespace().map(|code| (code, *digits)));
        let mut found = all.filter(|(code, _)| code.eq_ignore_ascii_case(text));
        found.next().map(|(code, digits)| Self { code, digits }).ok_or(UnknownCurrency)
    }

    /// The code in upper case.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Digits of the minor unit, after ISO 4217.
    pub fn digits(&self) -> u8 {
        self.digits
    }

    /// Digits of the unit in which the provider's events count, which for three currencies is not the minor unit.
    pub fn billed_digits(&self) -> u8 {
        STRIPE_COUNTS.iter().find(|(code, _)| *code == self.code).map_or(self.digits, |(_, digits)| *digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_knows_each_code_once() {
        let codes: Vec<&str> = CODES.iter().flat_map(|(_, codes)| codes.split_ascii_whitespace()).collect();
        let distinct: std::collections::BTreeSet<&&str> = codes.iter().collect();
        assert_eq!(codes.len(), distinct.len());
        assert!(codes.len() > 160, "the table has lost codes");
        assert!(codes.iter().all(|code| code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase())));
    }

    #[test]
    fn exponents_are_those_of_the_standard_and_nothing_is_assumed() {
        for (code, digits, billed) in
            [("jpy", 0, 0), ("usd", 2, 2), ("EUR", 2, 2), ("KWD", 3, 3), ("CLF", 4, 4), ("isk", 0, 2), ("mga", 2, 0)]
        {
            let currency = Currency::parse(code).unwrap();
            assert_eq!((currency.digits(), currency.billed_digits()), (digits, billed), "{code}");
        }
        for unknown in ["", "eu", "euro", "XXX", "BTC", "e€", "EUR "] {
            assert_eq!(Currency::parse(unknown), Err(UnknownCurrency), "{unknown}");
        }
    }
}
