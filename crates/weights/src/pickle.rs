//! A reader for the part of Python's pickle that state dicts use. It cannot execute anything.
//!
//! Values are in one list and refer to each other by index: memory is proportional to the length of
//! the pickle, however it nests, repeats or loops, and dropping does not recurse. candle's own
//! reader copies referenced values, so that a few hundred bytes can ask for more memory than there
//! is; it also trusts the length of a string before reading it, and indexes arguments without a
//! check.

use crate::dtype;
use candle_core::{bail, DType, Result};
use std::collections::HashMap;

/// A tensor as described by a pickle: elements of a storage from `offset` on, by `strides`. All
/// counts are elements, not bytes.
#[derive(Clone, Debug)]
pub(crate) struct TensorView {
    pub(crate) storage: StorageRef,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

/// The elements in a member of the archive.
#[derive(Clone, Debug)]
pub(crate) struct StorageRef {
    pub(crate) key: String,
    pub(crate) dtype: DType,
    pub(crate) count: usize,
}

const MOST_AXES: usize = 32;
const DEEPEST: usize = 16;
/// The number of values visited, plus the bytes of their names; shared values count each time.
const MOST_VISITS: usize = 16 << 20;

type Id = usize;

#[derive(Debug)]
enum PickleValue {
    None,
    Bool,
    Int(i64),
    Float,
    Text(String),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(String),
    StorageRef(StorageRef),
    TensorView(TensorView),
}

/// The tensors of a pickle by name, those of nested dictionaries and lists joined by dots.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<(String, TensorView)>> {
    let mut machine = Unpickler {
        rest: bytes,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let root = machine.run()?;
    let mut walk = TensorWalk { values: &machine.values, found: Vec::new(), visits: 0 };
    walk.visit("", root, 0)?;
    Ok(walk.found)
}

struct TensorWalk<'a> {
    values: &'a [PickleValue],
    found: Vec<(String, TensorView)>,
    visits: usize,
}

impl TensorWalk<'_> {
    fn visit(&mut self, name: &str, id: Id, depth: usize) -> Result<()> {
        self.visits += 1 + name.len();
        if depth > DEEPEST || self.visits > MOST_VISITS {
            bail!(
                "expected at most {DEEPEST} levels, and {MOST_VISITS} values and bytes of names, \
                found more"
            )
        }
        let under =
            |key: &str| if name.is_empty() { key.to_string() } else { format!("{name}.{key}") };
        match &self.values[id] {
            PickleValue::TensorView(view) => self.found.push((name.to_string(), view.clone())),
            PickleValue::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.visit(&under(&index.to_string()), *item, depth + 1)?;
                }
            }
            PickleValue::Dict(items) => {
                for (key, value) in items {
                    let key = match &self.values[*key] {
                        PickleValue::Text(text) => text.clone(),
                        PickleValue::Int(number) => number.to_string(),
                        _ => bail!("'{name}': expected texts or numbers for keys"),
                    };
                    self.visit(&under(&key), *value, depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

struct Unpickler<'a> {
    rest: &'a [u8],
    values: Vec<PickleValue>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Unpickler<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => bail!("it is truncated"),
        }
    }

    fn number(&mut self, bytes: usize) -> Result<u64> {
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(self.take(bytes)?);
        Ok(u64::from_le_bytes(wide))
    }

    fn line(&mut self) -> Result<String> {
        let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') else {
            bail!("it is truncated")
        };
        let line = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(line)
    }

    fn text(&mut self, length: u64) -> Result<PickleValue> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(PickleValue::Text(text.to_string())),
            Err(_) => bail!("a text that is not UTF-8"),
        }
    }

    fn push(&mut self, value: PickleValue) {
        self.values.push(value);
        self.stack.push(self.values.len() - 1);
    }

    fn pop(&mut self) -> Result<Id> {
        // Values below the mark belong to an outer collection.
        match self.stack.len() > self.marks.last().copied().unwrap_or(0) {
            true => Ok(self.stack.pop().expect("its length was just looked at")),
            false => bail!("expected a value on the stack, found none"),
        }
    }

    fn pop_many<const N: usize>(&mut self) -> Result<Vec<Id>> {
        let mut popped = (0..N).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        popped.reverse();
        Ok(popped)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => bail!("expected a mark on the stack, found none"),
        }
    }

    fn top(&self) -> Result<Id> {
        match self.stack.last() {
            Some(top) => Ok(*top),
            None => bail!("expected a value on the stack, found none"),
        }
    }

    fn recall(&mut self, slot: u32) -> Result<()> {
        match self.memo.get(&slot) {
            Some(id) => self.stack.push(*id),
            None => bail!("no value was stored as number {slot}"),
        }
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        match &mut self.values[list] {
            PickleValue::List(all) => all.extend(items),
            _ => bail!("expected a list to append to"),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<()> {
        let dict = self.top()?;
        match &mut self.values[dict] {
            PickleValue::Dict(all) if items.len().is_multiple_of(2) => {
                all.extend(items.chunks(2).map(|pair| (pair[0], pair[1])))
            }
            _ => bail!("expected a dictionary and pairs to set in it"),
        }
        Ok(())
    }

    /// Runs to the end and returns the top of the stack.
    fn run(&mut self) -> Result<Id> {
        loop {
            let op = self.take(1)?[0];
            match op {
                b'.' => return self.pop(),
                0x80 => drop(self.take(1)?), // PROTO
                0x95 => drop(self.take(8)?), // FRAME
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'N' => self.push(PickleValue::None),
                0x88 | 0x89 => self.push(PickleValue::Bool),
                b'K' => self.integer(1)?,
                b'M' => self.integer(2)?,
                b'J' => {
                    let value = self.number(4)? as u32 as i32;
                    self.push(PickleValue::Int(value.into()));
                }
                0x8a => self.long()?,
                b'G' => {
                    self.take(8)?;
                    self.push(PickleValue::Float);
                }
                0x8c | b'X' | 0x8d => {
                    let length = self.number(if op == 0x8c {
                        1
                    } else if op == b'X' {
                        4
                    } else {
                        8
                    })?;
                    let text = self.text(length)?;
                    self.push(text);
                }
                b')' | b']' => self.push(PickleValue::List(Vec::new())),
                b'}' => self.push(PickleValue::Dict(Vec::new())),
                b't' | b'l' => {
                    let items = self.pop_to_mark()?;
                    self.push(PickleValue::List(items));
                }
                0x85 => self.tuple::<1>()?,
                0x86 => self.tuple::<2>()?,
                0x87 => self.tuple::<3>()?,
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.pop_to_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let items = self.pop_many::<2>()?;
                    self.set(&items)?;
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    self.set(&items)?;
                }
                b'q' | b'r' => {
                    let slot = self.number(if op == b'q' { 1 } else { 4 })? as u32;
                    let top = self.top()?;
                    self.memo.insert(slot, top);
                }
                0x94 => {
                    let top = self.top()?;
                    self.memo.insert(self.memo.len() as u32, top);
                }
                b'h' | b'j' => {
                    let slot = self.number(if op == b'h' { 1 } else { 4 })? as u32;
                    self.recall(slot)?;
                }
                b'c' => {
                    let (module, class) = (self.line()?, self.line()?);
                    self.push(name(&module, &class)?);
                }
                0x93 => {
                    let pair = self.pop_many::<2>()?;
                    match (&self.values[pair[0]], &self.values[pair[1]]) {
                        (PickleValue::Text(module), PickleValue::Text(class)) => {
                            self.push(name(module, class)?)
                        }
                        _ => bail!("expected the name of a class"),
                    }
                }
                b'Q' => self.storage()?,
                b'R' | 0x81 => self.call()?,
                b'b' => self.build()?,
                other => bail!("operation {other:#04x}: a state dict needs no such operation"),
            }
        }
    }

    fn integer(&mut self, bytes: usize) -> Result<()> {
        let value = self.number(bytes)? as i64;
        self.push(PickleValue::Int(value));
        Ok(())
    }

    fn long(&mut self) -> Result<()> {
        let length = usize::from(self.take(1)?[0]);
        let bytes = self.take(length)?;
        if length > 8 {
            bail!("an integer of {length} bytes: expected at most 8")
        }
        let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [fill; 8];
        wide[..length].copy_from_slice(bytes);
        self.push(PickleValue::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn tuple<const N: usize>(&mut self) -> Result<()> {
        let items = self.pop_many::<N>()?;
        self.push(PickleValue::List(items));
        Ok(())
    }

    fn items(&self, id: Id) -> Result<&[Id]> {
        match &self.values[id] {
            PickleValue::List(items) => Ok(items),
            _ => bail!("expected a tuple"),
        }
    }

    fn size(&self, id: Id) -> Result<usize> {
        match &self.values[id] {
            PickleValue::Int(number) => usize::try_from(*number)
                .map_err(|_| candle_core::Error::msg(format!("expected a size, found {number}"))),
            _ => bail!("expected a size"),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        let items = self.items(id)?;
        if items.len() > MOST_AXES {
            bail!("expected at most {MOST_AXES} axes, found {}", items.len())
        }
        items.iter().map(|item| self.size(*item)).collect()
    }

    /// `('storage', torch.FloatStorage, key, location, count)`
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let &[kind, class, key, _, count] = self.items(id)? else {
            bail!("expected five things about a storage")
        };
        let (PickleValue::Text(kind), PickleValue::Name(class), PickleValue::Text(key)) =
            (&self.values[kind], &self.values[class], &self.values[key])
        else {
            bail!("expected kind, class and key of a storage")
        };
        let Some(class) = class.strip_prefix("torch.").filter(|_| kind == "storage") else {
            bail!("expected a storage of torch, found {kind:?} of class {class}")
        };
        let storage = StorageRef {
            key: key.clone(),
            dtype: dtype::of_storage(class)?,
            count: self.size(count)?,
        };
        self.push(PickleValue::StorageRef(storage));
        Ok(())
    }

    /// A call: only those that make a tensor or an empty dictionary are known.
    fn call(&mut self) -> Result<()> {
        let pair = self.pop_many::<2>()?;
        let PickleValue::Name(callee) = &self.values[pair[0]] else {
            bail!("expected a name to call")
        };
        let arguments = self.items(pair[1])?;
        match (callee.as_str(), arguments) {
            ("collections.OrderedDict", []) => self.push(PickleValue::Dict(Vec::new())),
            ("torch._utils._rebuild_tensor_v2", &[storage, offset, shape, strides, ..]) => {
                let PickleValue::StorageRef(storage) = &self.values[storage] else {
                    bail!("expected a storage for a tensor")
                };
                let (offset, shape, strides) =
                    (self.size(offset)?, self.sizes(shape)?, self.sizes(strides)?);
                if shape.len() != strides.len() {
                    bail!(
                        "expected as many strides as axes, {}, found {}",
                        shape.len(),
                        strides.len()
                    )
                }
                let view = TensorView { storage: storage.clone(), offset, shape, strides };
                self.push(PickleValue::TensorView(view));
            }
            ("torch._utils._rebuild_parameter", &[data, ..]) => match &self.values[data] {
                PickleValue::TensorView(_) => self.stack.push(data),
                _ => bail!("expected a tensor for a parameter"),
            },
            ("torch.Size", &[shape]) => {
                self.items(shape)?;
                self.stack.push(shape);
            }
            (callee, arguments) => {
                bail!(
                    "{callee} with {} arguments: a state dict needs no such call",
                    arguments.len()
                )
            }
        }
        Ok(())
    }

    /// Attributes: a state dict has `_metadata`, without information on tensors.
    fn build(&mut self) -> Result<()> {
        let attributes = self.pop()?;
        let object = self.top()?;
        match (&self.values[object], &self.values[attributes]) {
            (PickleValue::Dict(_), PickleValue::Dict(_)) => Ok(()),
            _ => bail!("expected attributes of a dictionary alone"),
        }
    }
}

/// A class name that a state dict may use.
fn name(module: &str, class: &str) -> Result<PickleValue> {
    let full = format!("{module}.{class}");
    let known = [
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.Size",
    ];
    let storage = module == "torch" && class.ends_with("Storage");
    if !storage && !known.contains(&full.as_str()) {
        bail!(
            "it asks for {full:?}, so it holds more than tensors: expected a file of \
              torch.save(module.state_dict(), path)"
        )
    }
    Ok(PickleValue::Name(full))
}
