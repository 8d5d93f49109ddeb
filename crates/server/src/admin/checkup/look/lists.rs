//! Asks block lists about addresses (RFC 5782).

use super::seen;
use crate::admin::checkup::facts::{ListFacts, Listing};
use posta_net::dns::{Family, Resolver};
use posta_origin::dns::reverse_name;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};
use tokio::task::JoinSet;

/// The most characters of a list's reason that are shown.
const REASON: usize = 200;

/// Asks each list about each address.
pub(super) async fn look(
    resolver: &Arc<dyn Resolver>,
    lists: &[String],
    addresses: &[IpAddr],
) -> Vec<ListFacts> {
    let mut asking = JoinSet::new();
    for (order, list) in lists.iter().cloned().enumerate() {
        let (resolver, addresses) = (resolver.clone(), addresses.to_vec());
        asking.spawn(async move { (order, ask(&*resolver, list, addresses).await) });
    }
    let mut found = asking.join_all().await;
    found.sort_by_key(|(order, _)| *order);
    found.into_iter().flat_map(|(_, facts)| facts).collect()
}

async fn ask(resolver: &dyn Resolver, list: String, addresses: Vec<IpAddr>) -> Vec<ListFacts> {
    let useless = why_useless(resolver, &list).await;
    let mut found = Vec::new();
    for address in addresses {
        let outcome = match &useless {
            Some(why) => Listing::Unknown(why.clone()),
            None => listing(resolver, &list, address).await,
        };
        found.push(ListFacts { list: list.clone(), address, outcome });
    }
    found
}

/// Returns why a list tells nothing: it must have 127.0.0.2 and must not have 127.0.0.1 (RFC 5782 §5). Many lists do not
/// answer the name servers of large providers, and some that have been given up list everybody.
async fn why_useless(resolver: &dyn Resolver, list: &str) -> Option<String> {
    let is_listed = |last| listing(resolver, list, Ipv4Addr::new(127, 0, 0, last).into());
    match tokio::join!(is_listed(2), is_listed(1)) {
        (_, Listing::Listed(_)) => Some("lists every address, so it is out of use".to_owned()),
        (Listing::Listed(_), _) => None,
        (Listing::Unknown(why), _) => Some(why),
        (Listing::Absent, _) => Some(
            "no answer to the name servers in use here; many lists refuse large public ones"
                .to_owned(),
        ),
    }
}

async fn listing(resolver: &dyn Resolver, list: &str, address: IpAddr) -> Listing {
    let reversed = reverse_name(address);
    let labels = reversed.trim_end_matches(".in-addr.arpa").trim_end_matches(".ip6.arpa");
    let name = format!("{labels}.{list}");
    let answers = match seen(&name, resolver.addresses_of(&name, Family::V4)).await {
        Ok(answers) => answers,
        Err(why) => return Listing::Unknown(why),
    };
    let codes: Vec<_> = answers
        .into_iter()
        .filter_map(|answer| match answer {
            IpAddr::V4(code) if code.octets()[0] == 127 => Some(code.octets()),
            _ => None,
        })
        .collect();
    match codes.first() {
        None => Listing::Absent,
        // Spamhaus and others tell so that the question was not answered.
        Some([127, 255, 255, _]) => Listing::Unknown("refuses the name servers in use here".into()),
        Some(_) => {
            let texts = seen(&name, resolver.texts(&name)).await.unwrap_or_default();
            let reason = texts.first().map(|text| text.chars().take(REASON).collect());
            Listing::Listed(reason.unwrap_or_default())
        }
    }
}
