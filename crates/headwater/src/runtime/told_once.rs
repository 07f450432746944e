//! What shards have to tell, in words, each thing once: twelve shards with one trouble have one.

/// What is told, each once with the shards of which it is true, in the order of the first of them.
///
/// Where shards tell the same but for their own number, as in the names of their partitions, `*` stands for that.
pub(crate) fn told_once(shards: impl IntoIterator<Item = (u32, String)>) -> Vec<String> {
    let mut exact: Vec<Told> = Vec::new();
    for (shard, told) in shards {
        add(&mut exact, Told { general: told, own: None, shards: vec![shard] });
    }
    let mut alike: Vec<Told> = Vec::new();
    for mut told in exact {
        if let [shard] = told.shards[..] {
            let general = without_number(&told.general, shard);
            told.own = Some(std::mem::replace(&mut told.general, general));
        }
        add(&mut alike, told);
    }
    alike.into_iter().map(Told::in_words).collect()
}

/// What shards tell.
struct Told {
    general: String,
    /// As the first of them tells it, if it tells it alone.
    own: Option<String>,
    shards: Vec<u32>,
}

impl Told {
    fn in_words(mut self) -> String {
        self.shards.sort_unstable();
        match (&self.shards[..], &self.own) {
            ([shard], Some(own)) => format!("shard {shard}: {own}"),
            (shards, _) => format!("shards {}: {}", ranges(shards), self.general),
        }
    }
}

fn add(all: &mut Vec<Told>, told: Told) {
    match all.iter_mut().find(|known| known.general == told.general) {
        Some(known) => known.shards.extend(told.shards),
        None => all.push(told),
    }
}

/// A text with `*` for the number of a shard where that ends a name, as in `visits-3`.
fn without_number(text: &str, shard: u32) -> String {
    let number = shard.to_string();
    let mut general = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&number) {
        let (before, after) = (&rest[..at], &rest[at + number.len()..]);
        let name = before.strip_suffix('-').or_else(|| before.strip_suffix('.'));
        let is_named = name.is_some_and(|name| name.ends_with(|c: char| c.is_alphanumeric()));
        let ends_a_name = is_named && !after.starts_with(|c: char| c.is_alphanumeric());
        general.push_str(before);
        general.push_str(if ends_a_name { "*" } else { &number });
        rest = after;
    }
    general + rest
}

/// `0-11`, or `0-3, 7`.
fn ranges(shards: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &shard in shards {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == shard => *last = shard,
            _ => ranges.push((shard, shard)),
        }
    }
    let range = |(first, last): &(u32, u32)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::told_once;

    #[test]
    fn each_trouble_is_told_once_with_its_shards() {
        let told = |troubles: &[(u32, &str)]| {
            told_once(troubles.iter().map(|(shard, told)| (*shard, (*told).to_owned()))).join("; ")
        };
        assert_eq!(told(&[]), "");
        let silent: Vec<_> = (0..12).map(|shard| (shard, "not started")).collect();
        assert_eq!(told(&silent), "shards 0-11: not started");
        assert_eq!(
            told(&[(0, "late"), (1, "gone"), (2, "late"), (3, "late"), (7, "late")]),
            "shards 0, 2-3, 7: late; shard 1: gone"
        );
    }

    #[test]
    fn what_differs_in_the_shards_own_number_alone_is_one_trouble() {
        let of = |shard: u32| {
            format!("stopped: visits2.in-{shard} cannot be read since 12 s: no visits2.in-{shard}")
        };
        let told = told_once((0..12).map(|shard| (shard, of(shard))));
        assert_eq!(told, ["shards 0-11: stopped: visits2.in-* cannot be read since 12 s: no visits2.in-*"]);
        let offsets =
            [(3, "stopped at visits-3 offset 3".to_owned()), (4, "stopped at visits-4 offset 9".to_owned())];
        let each = ["shard 3: stopped at visits-3 offset 3", "shard 4: stopped at visits-4 offset 9"];
        assert_eq!(told_once(offsets), each, "another offset is another trouble");
        assert_eq!(
            told_once([(3, "no visits-3".to_owned())]),
            ["shard 3: no visits-3"],
            "one is told as it is"
        );
    }
}
