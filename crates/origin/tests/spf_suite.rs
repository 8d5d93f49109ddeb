//! The published test suite for RFC 7208 (`tests/rfc7208`), every case of it.
#![allow(clippy::unwrap_used, clippy::panic)]

use posta_origin::{
    dns::{Record, Zone, now_or_never},
    spf::{self, SpfRequest},
};
use serde_json::Value;

fn text(value: &Value) -> String {
    match value {
        // The strings of one record are joined.
        Value::Array(strings) => strings.iter().map(text).collect(),
        value => value.as_str().unwrap().to_owned(),
    }
}

fn zone(data: &Value) -> Zone {
    let mut zone = Zone::default();
    for (name, records) in data.as_object().unwrap() {
        let records = records.as_array().unwrap();
        // Records of the former type SPF stand for TXT where there is no TXT.
        let has_txt = records.iter().any(|record| record.get("TXT").is_some());
        for record in records {
            let Some(record) = record.as_object() else {
                assert_eq!(record, "TIMEOUT");
                zone.add(name, Record::Failure);
                continue;
            };
            for (kind, value) in record {
                match kind.as_str() {
                    "TXT" if value == "NONE" => {}
                    "SPF" if has_txt => {}
                    "TXT" | "SPF" if value == "TIMEOUT" => zone.add(name, Record::Failure),
                    "TXT" | "SPF" => zone.add(name, Record::Txt(text(value))),
                    "A" => zone.add(name, Record::A(text(value).parse().unwrap())),
                    "AAAA" => zone.add(name, Record::Aaaa(text(value).parse().unwrap())),
                    "MX" => {
                        let preference = value[0].as_u64().unwrap();
                        zone.add(name, Record::Mx(preference as u16, text(&value[1])));
                    }
                    "PTR" => zone.add(name, Record::Ptr(text(value))),
                    "CNAME" => zone.add(name, Record::Cname(text(value))),
                    other => panic!("{other}"),
                }
            }
        }
    }
    zone
}

/// Runs a case, and returns what is wrong.
fn run(id: &str, case: &Value, zone: &Zone) -> Option<String> {
    let field = |name: &str| case[name].as_str().unwrap_or_default();
    let helo = field("helo");
    let request = SpfRequest::helo(field("host").parse().unwrap(), helo, "receiver.test", 0);
    let request = match field("mailfrom").rsplit_once('@') {
        Some((local_part, domain)) => SpfRequest { local_part, domain, ..request },
        None if field("mailfrom").is_empty() => request,
        None => SpfRequest { local_part: "", domain: field("mailfrom"), ..request },
    };
    let outcome = now_or_never(spf::check(zone, &request)).unwrap();
    let result = outcome.result.to_string();
    // Where several results are allowed, the preferred one stands first.
    let expected = case["result"].as_str().or_else(|| case["result"][0].as_str()).unwrap();
    if result != expected {
        return Some(format!("{id}: {result}, not {expected}: {:?}", outcome.error));
    }
    let explanation = outcome.explanation.as_deref().unwrap_or("DEFAULT");
    match case["explanation"].as_str() {
        Some(expected) if expected != explanation => {
            Some(format!("{id}: \"{explanation}\", not \"{expected}\""))
        }
        _ => None,
    }
}

#[test]
fn the_published_suite_agrees() {
    let suite: Value = serde_json::from_str(include_str!("rfc7208/rfc7208-tests.json")).unwrap();
    let mut count = 0;
    let mut wrong = Vec::new();
    for scenario in suite.as_array().unwrap() {
        let zone = zone(&scenario["zonedata"]);
        for (id, case) in scenario["tests"].as_object().unwrap() {
            count += 1;
            wrong.extend(run(id, case, &zone));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(count, 203, "cases");
}
