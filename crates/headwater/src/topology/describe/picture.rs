//! What a picture of an app shows: boxes for its parts, and arrows along which records flow.

use std::fmt::Write;

use super::{Description, TopologyDescription};

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Aggregate,
    Topic,
    Emitter,
    View,
    Observer,
}

/// A box: a title, and lines below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) shape: Shape,
    pub(super) title: String,
    pub(super) lines: Vec<String>,
}

/// Boxes, and arrows between them by their indices. Arrows form no cycle.
#[derive(Debug, Default)]
pub(super) struct Picture {
    pub(super) app: String,
    pub(super) parts: Vec<Part>,
    pub(super) arrows: Vec<(usize, usize)>,
}

impl Picture {
    pub(super) fn of(description: &Description) -> Self {
        let mut picture = Self { app: description.app.clone(), ..Self::default() };
        for aggregate in &description.aggregates {
            let from = picture.part(Shape::Aggregate, aggregate, Vec::new());
            let to = picture.topic(&format!("{}.{aggregate}.events", description.app));
            picture.arrows.push((from, to));
        }
        for topology in &description.topologies {
            picture.add(topology);
        }
        picture
    }

    fn add(&mut self, topology: &TopologyDescription) {
        let (shape, word) = match topology.kind {
            "fold" => (Shape::View, "view"),
            "observer" => (Shape::Observer, "observer"),
            _ => (Shape::Emitter, "emitter"),
        };
        let mut lines = topology.steps();
        if topology.replicated {
            lines.push("on every instance".to_owned());
        }
        let part = self.part(shape, &format!("{word} {}", topology.name), lines);
        for source in &topology.sources {
            let from = self.topic(source);
            self.arrows.push((from, part));
        }
        for target in &topology.targets {
            let to = self.topic(target);
            self.arrows.push((part, to));
        }
    }

    fn topic(&mut self, name: &str) -> usize {
        let known = self.parts.iter().position(|part| part.shape == Shape::Topic && part.title == name);
        known.unwrap_or_else(|| self.part(Shape::Topic, name, Vec::new()))
    }

    fn part(&mut self, shape: Shape, title: &str, lines: Vec<String>) -> usize {
        self.parts.push(Part { shape, title: title.to_owned(), lines });
        self.parts.len() - 1
    }

    /// The column of each box: one more than the last of those that lead to it.
    pub(super) fn columns(&self) -> Vec<usize> {
        let mut columns = vec![0; self.parts.len()];
        // As many rounds as the longest way has boxes at most; a cycle, which is none, would end here as well.
        for _ in 0..self.parts.len() {
            for (from, to) in &self.arrows {
                columns[*to] = columns[*to].max((columns[*from] + 1).min(self.parts.len()));
            }
        }
        columns
    }

    pub(super) fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (index, Part { shape, title, lines }) in self.parts.iter().enumerate() {
            let label = [std::slice::from_ref(title), lines].concat().join("<br>");
            // Mermaid knows no other escape for a quotation mark.
            let label = label.replace('"', "#quot;");
            let (open, close) = match shape {
                Shape::Aggregate => ("([", "])"),
                Shape::Topic => ("[/", "/]"),
                Shape::Emitter | Shape::Observer => ("[", "]"),
                Shape::View => ("[(", ")]"),
            };
            let _ = writeln!(text, "  n{index}{open}\"{label}\"{close}");
        }
        for (from, to) in &self.arrows {
            let _ = writeln!(text, "  n{from} --> n{to}");
        }
        text
    }
}
