//! The example of RFC 6376, from the signed message to the verified one.
#![allow(clippy::unwrap_used)]

use posta_mail::Timestamp;
use posta_origin::{
    dkim::{DkimResult, Keys},
    dns::{Zone, now_or_never},
    observer::{Needs, Observer},
};

/// RFC 6376 Appendix A.2.
///
/// The form is `simple/simple`, so that white space counts, and the layout of RFCs has changed some: what was
/// signed has six spaces at the beginning of folded lines, and one between the sentences of the body, as the
/// hashes in the signature show.
const SIGNED: &str = "\
DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
";

/// Appendix A.3: what the servers on the way put above it.
const ABOVE: &str = "\
X-Authentication-Results: shopping.example.net
  header.from=joe@football.example.com; dkim=pass
Received: from mout23.football.example.com (192.168.1.1)
  by shopping.example.net with SMTP;
  Fri, 11 Jul 2003 21:01:59 -0700 (PDT)
";

/// Appendix C.
const KEY: &str = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ\
                   KBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt\
                   IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v\
                   /RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi\
                   tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";

fn verify(message: &str, size: usize) -> DkimResult {
    let zone = Zone::default().with_txt("brisbane._domainkey.example.com", KEY);
    let mut observer = Observer::new(Needs { verify: true, sign: false });
    message.as_bytes().chunks(size).for_each(|piece| observer.write(piece));
    let observed = observer.finish();
    assert_eq!(observed.key_names(), ["brisbane._domainkey.example.com"]);
    let keys = now_or_never(Keys::look_up(&zone, &observed.key_names())).unwrap();
    let verified = observed.verify_dkim(&keys, Timestamp::from_second(1_100_000_000).unwrap());
    assert_eq!(verified[0].signature.as_ref().unwrap().domain, "example.com");
    verified[0].result
}

#[test]
fn the_example_of_rfc_6376_passes() {
    let signed = SIGNED.replace('\n', "\r\n");
    for size in [1, 2, 3, 7, 100, usize::MAX] {
        assert_eq!(verify(&signed, size), DkimResult::Pass, "in slices of {size}");
    }
    let above = [ABOVE, SIGNED].concat().replace('\n', "\r\n");
    assert_eq!(verify(&above, 100), DkimResult::Pass, "below trace fields");
}

/// The simple form forgives nothing.
#[test]
fn white_space_counts_in_the_simple_form() {
    for (from, to) in [
        ("c=simple/simple; q=dns/txt", "c=simple/simple;  q=dns/txt"),
        ("\n      by submitserver", "\n by submitserver"),
        ("Subject: ", "subject: "),
        ("game. Are", "game.  Are"),
        ("Joe.\n", "Joe. \n"),
    ] {
        assert_eq!(SIGNED.matches(from).count(), 1, "{from}");
        let changed = SIGNED.replace(from, to).replace('\n', "\r\n");
        assert_eq!(verify(&changed, 100), DkimResult::Fail, "{to}");
    }
    let longer = [SIGNED, "\n\n"].concat().replace('\n', "\r\n");
    assert_eq!(verify(&longer, 100), DkimResult::Pass, "blank lines at the end do not count");
}
