//! One source file with all its mutants in it, each behind a switch: so that one build tries them all.
//!
//! A place becomes `(if on(7) { a || b } else { a && b })`. The text around it stays as it is, line breaks too.

use std::collections::BTreeMap;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::list::{Kind, Mutant, Position};

/// The switch, as a module of the node. `BLIXARD_MUTANT` is the number of the mutant that is on. When it is `reached`, each number is
/// printed into the file `BLIXARD_MUTANTS_REACHED` when its place is passed for the first time.
pub(super) const SWITCH: &str = r#"
use std::io::Write as _;
use std::sync::{LazyLock, Mutex, atomic::{AtomicBool, AtomicU32, Ordering::Relaxed}};

const RECORD: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX - 1;
static ACTIVE: AtomicU32 = AtomicU32::new(UNKNOWN);
static REACHED: [AtomicBool; 1 << 14] = [const { AtomicBool::new(false) }; 1 << 14];
static FILE: LazyLock<Mutex<std::fs::File>> = LazyLock::new(|| {
    let path = std::env::var("BLIXARD_MUTANTS_REACHED").expect("BLIXARD_MUTANTS_REACHED is a file");
    Mutex::new(std::fs::OpenOptions::new().create(true).append(true).open(path).expect("BLIXARD_MUTANTS_REACHED can be written"))
});

#[inline(always)]
pub(crate) fn on(number: u32) -> bool {
    let active = ACTIVE.load(Relaxed);
    active == number || (active >= UNKNOWN && asked(number))
}

#[cold]
#[inline(never)]
fn asked(number: u32) -> bool {
    if ACTIVE.load(Relaxed) == UNKNOWN {
        let active = match std::env::var("BLIXARD_MUTANT").as_deref() {
            Ok("reached") => RECORD,
            Ok(number) => number.parse().expect("BLIXARD_MUTANT is a number"),
            Err(_) => 0,
        };
        ACTIVE.store(active, Relaxed);
    }
    let active = ACTIVE.load(Relaxed);
    if active == RECORD && !REACHED[number as usize].swap(true, Relaxed) {
        let _ = writeln!(FILE.lock().expect("nobody panics with it"), "{number}");
    }
    active == number
}
"#;

/// A source with mutants in it.
#[derive(Debug)]
pub(super) struct Folded {
    pub(super) text: String,
    /// Where in `text` each mutant stands, in bytes.
    spans: Vec<(Range<usize>, u32)>,
    /// Matches that have arms which mutants leave out: where what is matched stands in `text`, with these mutants.
    matches: Vec<(Range<usize>, Vec<u32>)>,
    /// Those that are no Rust: `||` beside a `let` in a condition.
    pub(super) refused: Vec<u32>,
    /// Those that there is no place for: in what is a constant for the compiler, or in place of an `impl Trait`.
    pub(super) left: Vec<u32>,
}

impl Folded {
    /// The mutants that these bytes belong to: one, or those of a match that is not exhaustive any more.
    pub(super) fn at(&self, bytes: &Range<usize>) -> Vec<u32> {
        let holds = |span: &Range<usize>| span.start <= bytes.start && bytes.end <= span.end;
        let one = self.spans.iter().filter(|(span, _)| holds(span)).min_by_key(|(span, _)| span.len());
        match one {
            Some((_, number)) => vec![*number],
            None => self
                .matches
                .iter()
                .filter(|(span, _)| holds(span))
                .flat_map(|(_, numbers)| numbers)
                .copied()
                .collect(),
        }
    }
}

/// Puts the mutants into the source that they are of.
pub(super) fn fold(source: &str, mutants: &[&Mutant]) -> Result<Folded, String> {
    let file = syn::parse_file(source).map_err(|why| why.to_string())?;
    let mut places = Places {
        source,
        wanted: BTreeMap::new(),
        regions: BTreeMap::new(),
        leaves_out: Vec::new(),
        refused: Vec::new(),
    };
    for mutant in mutants {
        places.wanted.entry((mutant.kind, mutant.at)).or_default().push(mutant);
    }
    places.visit_file(&file);
    let left = places.wanted.values().flatten().map(|mutant| mutant.number).collect();
    let mut folded = Folded {
        text: String::with_capacity(2 * source.len()),
        spans: Vec::new(),
        matches: Vec::new(),
        refused: places.refused,
        left,
    };
    folded.assemble(source, &places.regions);
    Ok(folded)
}

/// What is put around a piece of the source. The order of the variants is the order of nesting, outermost first, around one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wrapping {
    /// Early returns before the statements of a body.
    Body,
    /// A guard that an arm has, or that it gets at this empty place.
    Arm,
    /// An expression and what may stand in its place.
    Expression,
    /// What a match looks at, of which mutants leave arms out: nothing is put there.
    Matched,
}

/// From where to where a piece reaches, in bytes, so ordered that what encloses another comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Region {
    start: usize,
    end: std::cmp::Reverse<usize>,
    wrapping: Wrapping,
}

/// Finds the places of the mutants, and takes those out of `wanted` that it has found.
struct Places<'a> {
    source: &'a str,
    wanted: BTreeMap<(Kind, Position), Vec<&'a Mutant>>,
    /// The mutants of each region, with the text that they put there.
    regions: BTreeMap<Region, Vec<(u32, String)>>,
    /// The mutants that leave out arms of the matches it is in, innermost last.
    leaves_out: Vec<Vec<u32>>,
    refused: Vec<u32>,
}

impl Places<'_> {
    fn take(&mut self, kind: Kind, span: proc_macro2::Span) -> Vec<&Mutant> {
        let start = span.start();
        let at = Position { line: start.line, column: start.column + 1 };
        self.wanted.remove(&(kind, at)).unwrap_or_default()
    }

    fn text(&self, node: &impl Spanned) -> &str {
        &self.source[node.span().byte_range()]
    }

    fn put(&mut self, bytes: Range<usize>, wrapping: Wrapping, mutants: Vec<(u32, String)>) {
        if !mutants.is_empty() {
            let region = Region { start: bytes.start, end: std::cmp::Reverse(bytes.end), wrapping };
            self.regions.entry(region).or_default().extend(mutants);
        }
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) else { return };
        let one_of_many = matches!(&signature.output, syn::ReturnType::Type(_, kind) if matches!(**kind, syn::Type::ImplTrait(_)));
        if signature.constness.is_some() || one_of_many {
            return;
        }
        let mutants = self.take(Kind::FnValue, first.span());
        let texts =
            mutants.iter().map(|mutant| (mutant.number, format!("return {};", mutant.replacement))).collect();
        self.put(first.span().byte_range().start..last.span().byte_range().end, Wrapping::Body, texts);
    }
}

impl<'ast> Visit<'ast> for Places<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        if item.sig.constness.is_none() {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        if item.sig.constness.is_none() {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        if has_let(&binary.left) || has_let(&binary.right) {
            let refused: Vec<u32> = self
                .take(Kind::BinaryOperator, binary.op.span())
                .iter()
                .map(|mutant| mutant.number)
                .collect();
            self.refused.extend(refused);
        } else {
            let (left, right) = (self.text(&binary.left).to_owned(), self.text(&binary.right).to_owned());
            let texts = (self.take(Kind::BinaryOperator, binary.op.span()).iter())
                .map(|mutant| (mutant.number, format!("({left}) {} ({right})", mutant.replacement)))
                .collect();
            self.put(binary.span().byte_range(), Wrapping::Expression, texts);
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let operand = self.text(&unary.expr).to_owned();
        let texts = (self.take(Kind::UnaryOperator, unary.op.span()).iter())
            .map(|mutant| (mutant.number, operand.clone()))
            .collect();
        self.put(unary.span().byte_range(), Wrapping::Expression, texts);
        visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_struct(&mut self, made: &'ast syn::ExprStruct) {
        let whole = made.span().byte_range();
        for field in &made.fields {
            let bytes = field.span().byte_range();
            let comma =
                self.source[bytes.end..whole.end].find(',').map_or(bytes.end, |at| bytes.end + at + 1);
            let without =
                format!("{}{}", &self.source[whole.start..bytes.start], &self.source[comma..whole.end]);
            let texts = (self.take(Kind::StructField, field.span()).iter())
                .map(|mutant| (mutant.number, without.clone()))
                .collect();
            self.put(whole.clone(), Wrapping::Expression, texts);
        }
        visit::visit_expr_struct(self, made);
    }

    fn visit_expr_match(&mut self, matching: &'ast syn::ExprMatch) {
        self.leaves_out.push(Vec::new());
        visit::visit_expr_match(self, matching);
        let numbers = self.leaves_out.pop().unwrap_or_default();
        let none = numbers.into_iter().map(|number| (number, String::new())).collect();
        self.put(matching.expr.span().byte_range(), Wrapping::Matched, none);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let texts = |mutants: Vec<&Mutant>| {
            mutants.iter().map(|mutant| (mutant.number, mutant.replacement.clone())).collect::<Vec<_>>()
        };
        let gone = texts(self.take(Kind::MatchArm, arm.span()));
        if let Some(numbers) = self.leaves_out.last_mut() {
            numbers.extend(gone.iter().map(|(number, _)| *number));
        }
        let end = arm.pat.span().byte_range().end;
        match &arm.pat {
            syn::Pat::Guard(guarded) if has_let(&guarded.guard) => {}
            syn::Pat::Guard(guarded) => {
                let bytes = guarded.guard.span().byte_range();
                let guards = texts(self.take(Kind::MatchArmGuard, guarded.guard.span()));
                self.put(bytes.clone(), Wrapping::Arm, gone);
                self.put(bytes, Wrapping::Expression, guards);
            }
            _ => self.put(end..end, Wrapping::Arm, gone),
        }
        visit::visit_arm(self, arm);
    }
}

/// Whether it is, or joins with others, a `let` of a condition, which may not stand in parentheses.
fn has_let(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

/// A region that has begun.
struct Open {
    end: usize,
    /// What ends it.
    close: &'static str,
    /// Where what a match looks at began, and the mutants that leave out its arms.
    matched: Option<(usize, Vec<u32>)>,
}

impl Folded {
    /// Writes the source with the regions' texts in it.
    fn assemble(&mut self, source: &str, regions: &BTreeMap<Region, Vec<(u32, String)>>) {
        // Innermost last.
        let mut open: Vec<Open> = Vec::new();
        let mut copied = 0;
        for (region, mutants) in regions {
            while let Some(ended) = open.pop_if(|open| open.end <= region.start) {
                self.close(source, &mut copied, ended);
            }
            self.text.push_str(&source[copied..region.start]);
            copied = region.start;
            open.push(self.begin(region, mutants));
        }
        while let Some(ended) = open.pop() {
            self.close(source, &mut copied, ended);
        }
        self.text.push_str(&source[copied..]);
    }

    fn close(&mut self, source: &str, copied: &mut usize, open: Open) {
        self.text.push_str(&source[*copied..open.end]);
        *copied = open.end;
        if let Some((start, mutants)) = open.matched {
            self.matches.push((start..self.text.len(), mutants));
        }
        self.text.push_str(open.close);
    }

    /// Writes what comes before a region.
    fn begin(&mut self, region: &Region, mutants: &[(u32, String)]) -> Open {
        let end = region.end.0;
        let empty = region.start == end;
        let (before, between, close) = match region.wrapping {
            Wrapping::Body | Wrapping::Matched => ("", "", ""),
            Wrapping::Arm if empty => (" if ", "", ""),
            Wrapping::Arm => ("(", " && (", "))"),
            Wrapping::Expression => ("(", "{ ", " })"),
        };
        let matched = region.wrapping == Wrapping::Matched;
        let matched = matched.then(|| (self.text.len(), mutants.iter().map(|(number, _)| *number).collect()));
        self.text.push_str(before);
        for (number, replacement) in mutants {
            let start = self.text.len();
            self.text.push_str(&match region.wrapping {
                Wrapping::Matched => continue,
                Wrapping::Body => format!("if crate::mutant::on({number}) {{ {replacement} }} "),
                Wrapping::Arm => format!("!crate::mutant::on({number})"),
                Wrapping::Expression => format!("if crate::mutant::on({number}) {{ {replacement} }} else "),
            });
            self.spans.push((start..self.text.len(), *number));
        }
        self.text.push_str(between);
        Open { end, close, matched }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(number: u32, kind: Kind, (line, column): (usize, usize), replacement: &str) -> Mutant {
        let at = Position { line, column };
        Mutant { number, file: "a.rs".into(), what: String::new(), kind, replacement: replacement.into(), at }
    }

    fn folded(source: &str, mutants: &[Mutant]) -> Folded {
        let folded = fold(source, &mutants.iter().collect::<Vec<_>>()).expect("Rust");
        syn::parse_file(&folded.text).expect("still Rust");
        folded
    }

    #[test]
    fn operators_are_exchanged_from_the_outside_in() {
        let source = "fn f() -> bool { a && !b }";
        let mutants = [
            mutant(1, Kind::FnValue, (1, 18), "true"),
            mutant(2, Kind::BinaryOperator, (1, 20), "||"),
            mutant(3, Kind::UnaryOperator, (1, 23), ""),
        ];
        let folded = folded(source, &mutants);
        let wanted = "fn f() -> bool { if crate::mutant::on(1) { return true; } \
            (if crate::mutant::on(2) { (a) || (!b) } else { a && (if crate::mutant::on(3) { b } else { !b }) }) }";
        assert_eq!(folded.text, wanted);
        assert_eq!(folded.left, [] as [u32; 0]);
        let at = wanted.find("(a) ||").expect("there");
        assert_eq!(folded.at(&(at..at + 3)), [2]);
    }

    #[test]
    fn an_arm_is_left_out_by_a_guard() {
        let source = "fn f() { match a { 1 if b => {} 2 => {} _ => {} } }";
        let mutants = [
            mutant(1, Kind::MatchArm, (1, 20), ""),
            mutant(2, Kind::MatchArmGuard, (1, 25), "true"),
            mutant(3, Kind::MatchArm, (1, 33), ""),
        ];
        let folded = folded(source, &mutants);
        assert_eq!(
            folded.text,
            "fn f() { match a { 1 if (!crate::mutant::on(1) && ((if crate::mutant::on(2) { true } else { b }))) => {} \
                2 if !crate::mutant::on(3) => {} _ => {} } }"
        );
        let matched = folded.text.find("a {").expect("there");
        assert_eq!(
            folded.at(&(matched..matched + 1)),
            [1, 3],
            "both, when the match is not exhaustive without them"
        );
    }

    #[test]
    fn a_field_is_left_to_the_base() {
        let source = "fn f() -> A { A { b: 1, c: 2, ..d } }";
        let folded = folded(
            source,
            &[mutant(1, Kind::StructField, (1, 19), ""), mutant(2, Kind::StructField, (1, 25), "")],
        );
        assert_eq!(
            folded.text,
            "fn f() -> A { (if crate::mutant::on(1) { A {  c: 2, ..d } } else if crate::mutant::on(2) { A { b: 1,  ..d } } \
                else { A { b: 1, c: 2, ..d } }) }"
        );
    }

    #[test]
    fn what_has_no_place_is_told() {
        let source = "const fn f() -> bool { a && b }\nfn g() { if a && let Some(b) = c {} }\nfn h() -> impl Iterator<Item = u8> { i() }";
        let mutants = [
            mutant(1, Kind::BinaryOperator, (1, 26), "||"),
            mutant(2, Kind::BinaryOperator, (2, 15), "||"),
            mutant(3, Kind::FnValue, (3, 38), "::std::iter::empty()"),
        ];
        let mut folded = folded(source, &mutants);
        folded.left.sort_unstable();
        assert_eq!(folded.text, source);
        assert_eq!((folded.refused.as_slice(), folded.left.as_slice()), (&[2][..], &[1, 3][..]));
    }
}
