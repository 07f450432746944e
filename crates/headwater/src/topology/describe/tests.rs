use super::picture::Picture;
use super::svg::placed;
use crate::prelude::*;

fn shop() -> App {
    let mut app = App::new("shop");
    let numbers = app.stream::<String, u64>("numbers");
    let others = app.stream::<String, u64>("<others> & \"more\"");
    let counted = numbers.filter(|n| *n > 1).group_by_key().count(Store::named("counted"));
    app.emitter(counted.updates().to("counts"));
    app.view(counted.clone());
    app.view(numbers.merge(&others).group_by_key().count(Store::named("both")).replicated());
    app
}

#[test]
fn words_name_what_each_topology_reads_does_and_makes() {
    let text = shop().describe().to_string();
    for line in [
        "app shop",
        "  fold counted: topic numbers -> filter -> count \"counted\" -> view counted",
        "  emitter counts: topic numbers -> filter -> count \"counted\" -> to_stream -> flat_map_values -> topic counts",
        "  fold both: topic shop.both.updates -> table \"both\" -> replicated view both",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n in \n{text}");
    }
}

#[test]
fn the_data_tell_which_operator_feeds_which() {
    let json = shop().describe().json();
    let emitters = json["topologies"].as_array().unwrap();
    let both = emitters.iter().find(|topology| topology["name"] == "both.updates").unwrap();
    let merge = both["operators"].as_array().unwrap().iter().find(|o| o["operator"] == "merge").unwrap();
    assert_eq!(merge["inputs"].as_array().unwrap().len(), 2);
    assert_eq!(both["targets"], serde_json::json!(["shop.both.updates"]));
}

#[test]
fn a_picture_has_every_part_once_and_none_over_another() {
    let description = shop().describe();
    let picture = Picture::of(&description);
    let boxes = placed(&picture);
    for (index, a) in boxes.iter().enumerate() {
        for b in &boxes[index + 1..] {
            let beside = a.x + a.width <= b.x || b.x + b.width <= a.x;
            let below = a.y + a.height <= b.y || b.y + b.height <= a.y;
            assert!(beside || below, "{a:?} {b:?}");
        }
    }
    for (from, to) in &picture.arrows {
        assert!(boxes[*from].x < boxes[*to].x, "records flow to the right");
    }
    let svg = description.svg();
    assert_eq!(svg.matches("<rect").count(), picture.parts.len());
    assert_eq!(svg.matches("marker-end").count(), picture.arrows.len());
    assert!(svg.contains("&lt;others&gt; &amp; &quot;more&quot;"), "{svg}");
    let mermaid = description.mermaid();
    assert!(mermaid.contains("[/\"<others> & #quot;more#quot;\"/]"), "{mermaid}");
}
