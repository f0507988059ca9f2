//! The suite finds planted faults, by the check that is meant for them.

use candle_core::{bail, Result, Tensor, Var, D};
use candle_nn::VarBuilder;
use recurrent_core::{
    init, linear, tanh_slope, Bptt, Carry, Cell, CellConfig, ForwardContext, Gate, HiddenGradClip,
    Layer, LayerId, LstmState, Params, Sequence, Truncation,
};
use recurrent_testkit::conformance::faults;
use recurrent_testkit::{Case, Implementation};
use std::sync::atomic::{AtomicU32, Ordering};

/// c' = 0.7 c + tanh(W x + U h), h' = tanh c': the smallest cell with two fields.
#[derive(Clone, Params)]
struct Leaky {
    w: Tensor,
    u: Tensor,
    #[param(skip)]
    fault: Fault,
}

impl Leaky {
    /// tanh(W x + U h).
    fn entering(&self, x: &Tensor, s: &LstmState) -> Result<Tensor> {
        (linear(x, &self.w, None)? + linear(&s.h, &self.u, None)?)?.tanh()
    }
}

impl Cell for Leaky {
    type State = LstmState;

    fn input_size(&self) -> usize {
        self.w.dims()[1]
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.u.dims()[1]; 2]
    }

    fn step(&self, x: &Tensor, s: &LstmState) -> Result<LstmState> {
        let c = ((&s.c * 0.7)? + self.entering(x, s)?)?;
        Ok(LstmState { h: c.tanh()?, c })
    }

    fn gates(&self, _: &Tensor, s: &LstmState) -> Result<Vec<Gate>> {
        let leak = s.c.ones_like()?.affine(0.7, 0.0)?;
        let values = match self.fault {
            Fault::GatesTooWide => (leak * 2.0)?,
            Fault::GatesMix => {
                leak.broadcast_mul(&s.c.mean_keepdim(0)?.sqr()?.affine(-0.1, 1.0)?)?
            }
            _ => leak,
        };
        Ok(vec![Gate { name: "leak", values, keeps: true }])
    }

    /// δc = dc' + dh' ∘ (1 − tanh²c'), dc = 0.7 δc, dh = Uᵀ (δc ∘ (1 − tanh²(W x + U h))).
    fn vjp(&self, x: &Tensor, s: &LstmState, grad: &LstmState) -> Result<Option<LstmState>> {
        let (h, new) = (self.step(x, s)?.h.detach(), self.entering(x, s)?.detach());
        let dc = (&grad.c + (&grad.h * tanh_slope(&h)?)?)?;
        let dh = (&dc * tanh_slope(&new)?)?.matmul(&self.u)?;
        let dh = match self.fault {
            Fault::PullsBackOff => (dh * (1.0 + 1e-9))?,
            Fault::PullsBackState => (dh + (&s.h - s.h.detach())?)?,
            Fault::PullsBackNoWeight => dh.detach(),
            _ => dh,
        };
        Ok(Some(LstmState { h: dh, c: (dc * 0.7)? }))
    }
}

#[derive(Clone)]
struct LeakyConfig(Fault);

impl CellConfig for LeakyConfig {
    type Cell = Leaky;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Leaky> {
        let names = ["w", "u"].map(|base| {
            format!("{base}{}", layer_id.map_or_else(String::new, |layer_id| layer_id.suffix()))
        });
        let w = init::linear_weight(input, hidden, &names[0], &vb)?;
        Ok(Leaky { w, u: init::linear_weight(hidden, hidden, &names[1], &vb)?, fault: self.0 })
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        hidden * (input + hidden)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    OutputsOff,
    GradientOff,
    ForgetsCarry,
    IgnoresLengths,
    CutsInput,
    CutsWeight,
    MixesExamples,
    TouchesPadding,
    LastIsFirst,
    RecordsElsewhere,
    RecordsNothing,
    CountsCalls,
    CountsThreads,
    OwnErrors,
    RepeatsNames,
    TracksAlways,
    NoWindow,
    WindowOff,
    NoBound,
    BoundOff,
    ObservesNothing,
    GatesTooWide,
    GatesMix,
    PullsBackOff,
    PullsBackState,
    PullsBackNoWeight,
}

/// One step longer.
fn longer(window: Truncation) -> Truncation {
    match window {
        Truncation::Every(steps) => Truncation::Every(steps + 1),
        Truncation::Last(steps) => Truncation::Last(steps + 1),
    }
}

fn wider(clip: HiddenGradClip) -> HiddenGradClip {
    match clip {
        HiddenGradClip::Value(bound) => HiddenGradClip::Value(bound * (1.0 + 1e-6)),
        HiddenGradClip::Norm(bound) => HiddenGradClip::Norm(bound * (1.0 + 1e-6)),
    }
}

/// A layer with a fault.
struct Faulty {
    layer: Box<dyn Layer>,
    fault: Fault,
    calls: AtomicU32,
}

impl Faulty {
    fn xs(&self, xs: &Sequence) -> Result<Sequence> {
        match self.fault {
            Fault::IgnoresLengths => Sequence::new(xs.values().clone()),
            Fault::CutsInput => xs.with_values(xs.values().detach()),
            Fault::TracksAlways => xs.with_values(Var::from_tensor(xs.values())?.into_inner()),
            Fault::OwnErrors if xs.values().dim(D::Minus1)? != self.input_size() => {
                bail!("wrong size")
            }
            _ => Ok(xs.clone()),
        }
    }

    fn carry<'a>(&self, carry: Option<&'a Carry>) -> Option<&'a Carry> {
        carry.filter(|_| self.fault != Fault::ForgetsCarry)
    }

    fn context<'a>(&self, context: &ForwardContext<'a>) -> ForwardContext<'a> {
        match self.fault {
            Fault::RecordsElsewhere => context.offset_layer(1),
            Fault::RecordsNothing => ForwardContext { record: None, ..*context },
            Fault::ObservesNothing => ForwardContext { activations: None, ..*context },
            Fault::NoWindow => context.bptt(Bptt { truncation: None, ..context.bptt }),
            Fault::NoBound => context.bptt(Bptt { clip: None, ..context.bptt }),
            Fault::WindowOff => context
                .bptt(Bptt { truncation: context.bptt.truncation.map(longer), ..context.bptt }),
            Fault::BoundOff => {
                context.bptt(Bptt { clip: context.bptt.clip.map(wider), ..context.bptt })
            }
            _ => *context,
        }
    }

    /// The faulty outputs, or the faulty end of the outputs; `xs` are the inputs.
    fn ys(&self, ys: &Tensor, xs: &Sequence) -> Result<Tensor> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        let scaled = |by: f64| ys * (1.0 + by);
        match self.fault {
            Fault::OutputsOff => scaled(1e-9),
            Fault::GradientOff => scaled(1e-5)? - (ys.detach() * 1e-5)?,
            Fault::CutsWeight => {
                // Another weight of the same value takes its place in the graph.
                let (_, weight) = self.params().swap_remove(0);
                let nothing = (weight.detach().sum_all()? - weight.sum_all()?)?;
                ys.broadcast_add(&(nothing * 1e-3)?)
            }
            Fault::MixesExamples => ys + (ys.mean_keepdim(0)?.broadcast_as(ys.shape())? * 1e-9)?,
            Fault::TouchesPadding => ys.broadcast_add(&(xs.values().sum_all()? * 0.0)?),
            Fault::CountsCalls => scaled(f64::from(calls) * 1e-6),
            Fault::CountsThreads => scaled(rayon::current_num_threads() as f64 * 1e-6),
            _ => Ok(ys.clone()),
        }
    }
}

impl Layer for Faulty {
    fn input_size(&self) -> usize {
        self.layer.input_size()
    }

    fn output_size(&self) -> usize {
        self.layer.output_size()
    }

    fn run(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Sequence, Carry)> {
        let inside = self.xs(xs)?;
        let (ys, end) = self.layer.run(&inside, self.carry(carry), &self.context(context))?;
        Ok((xs.with_values(self.ys(ys.values(), xs)?)?, end))
    }

    fn last(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Tensor, Carry)> {
        let inside = self.xs(xs)?;
        if self.fault == Fault::LastIsFirst {
            let (ys, end) = self.run(xs, carry, context)?;
            return Ok((ys.values().narrow(1, 0, 1)?.squeeze(1)?, end));
        }
        let (last, end) = self.layer.last(&inside, self.carry(carry), &self.context(context))?;
        Ok((self.ys(&last, xs)?, end))
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        let mut params = self.layer.params();
        if self.fault == Fault::RepeatsNames {
            params[1].0 = params[0].0.clone();
        }
        params
    }

    fn vjp(&self, x: &Tensor, carry: &Carry, grad: &Carry) -> Result<Option<Carry>> {
        self.layer.vjp(x, carry, grad)
    }
}

fn case(fault: Fault) -> Case {
    Case::cell(LeakyConfig(fault), |input, hidden| hidden * (input + hidden)).around(
        move |build, layer| {
            if build.implementation() == Implementation::StepLoop {
                return layer; // the reference has no fault
            }
            Box::new(Faulty { layer, fault, calls: AtomicU32::new(0) })
        },
    )
}

/// One test for each fault, with the checks that must find it.
macro_rules! found {
    ($($name:ident: $fault:ident by $($check:literal),+;)*) => {$(
        #[test]
        fn $name() {
            let faults = faults(&case(Fault::$fault));
            for check in [$($check),+] {
                let found = faults.iter().any(|(name, _)| *name == check);
                assert!(found, "{check} passes; those that fail: {faults:#?}");
            }
        }
    )*};
}

found! {
    outputs_that_are_off: OutputsOff by "steps";
    gradients_that_are_off: GradientOff by "steps", "finite differences";
    a_carry_that_is_ignored: ForgetsCarry by "steps", "halves", "errors";
    lengths_that_are_ignored: IgnoresLengths by "steps", "shapes", "padding", "reversed";
    an_input_that_is_cut_off: CutsInput by "steps", "halves", "finite differences", "untracked";
    a_weight_whose_gradient_is_off: CutsWeight by "steps", "finite differences";
    examples_that_mix: MixesExamples by "steps", "rows";
    padding_that_is_read: TouchesPadding by "padding";
    a_last_output_that_is_the_first: LastIsFirst by "shapes", "steps";
    a_record_of_another_layer: RecordsElsewhere by "recorder";
    no_record: RecordsNothing by "recorder", "recorder by differences";
    a_result_that_depends_on_the_past: CountsCalls by "shapes";
    a_result_that_depends_on_threads: CountsThreads by "same bits";
    an_error_with_another_message: OwnErrors by "errors";
    a_name_that_is_repeated: RepeatsNames by "count";
    a_graph_without_tracked_inputs: TracksAlways by "untracked";
    a_missing_window: NoWindow by "truncation";
    a_window_that_is_off_by_a_step: WindowOff by "truncation";
    a_missing_bound: NoBound by "hidden gradient clip";
    a_bound_that_is_off: BoundOff by "hidden gradient clip";
    a_layer_that_is_not_observed: ObservesNothing by "activations";
    gates_above_one: GatesTooWide by "activations";
    gates_that_mix_examples: GatesMix by "activations";
    a_closed_form_that_is_off: PullsBackOff by "vjp";
    a_closed_form_that_depends_on_the_state: PullsBackState by "vjp";
    a_closed_form_without_weights: PullsBackNoWeight by "vjp";
}

#[test]
fn a_correct_case_has_no_faults() {
    assert_eq!(faults(&case(Fault::None)), Vec::new());
}

#[test]
fn a_wrong_number_of_weights_is_found() {
    let case = Case::cell(LeakyConfig(Fault::None), |input, hidden| hidden * (input + hidden) + 1);
    let faults = faults(&case);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].1, "at input 3, hidden 5: 40 weights, documented are 41");
}

#[test]
fn a_declared_zero_gradient_must_be_zero() {
    let name = "w_l0";
    let case = case(Fault::None).zero_gradient(name, "of no reason");
    let faults = faults(&case);
    assert_eq!(faults.len(), 1, "{faults:?}");
    let expected = "the gradient of w_l0 is not zero at the start, as declared: of no reason";
    assert_eq!(faults[0].1, expected);
}

#[test]
fn a_gradient_declared_zero_at_the_start_must_be_zero() {
    let case = case(Fault::None).zero_at_start("w_", "of no reason");
    let faults = faults(&case);
    assert_eq!(faults.len(), 1, "{faults:?}");
    let expected = "the gradient of w_l0 is not zero at the start, as declared: of no reason";
    assert_eq!(faults[0].1, expected);
}
