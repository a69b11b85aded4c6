//! The generated `invoke`: calls in order, with and without a pool, control flow, statuses, many parts.

use std::sync::Arc;
use tflc::backend::driver;
use tflc::backend::image::{Function, Image};
use tflc::backend::{ENTRY, cranelift::Compiler};
use tflc::ir::{DType, Location, TensorType};
use tflc::lower::program::{Call, Place, Port, Program, Recipe, Region, Step};
use tflc::target::{ArmLevel, Cpu, Target, X86Level};
use tflc_kir::{Addr, Builder, CmpOp, Kernel, Mem, Narrow, Type};
use tflc_tests::kernel_runner::{Case, Entry, Machine, Outcome, Runner, Slot};

/// Numbers in every buffer.
const N: usize = 64;

/// `out[i] = a[i] * factor + b[i]` over the units.
fn scale_add(factor: i32) -> Kernel {
    let mut b = Builder::new(format!("scale_add_{factor}"));
    let (out, x, y) = (b.ptr_param("out"), b.ptr_param("x"), b.ptr_param("y"));
    let (begin, end) = (b.begin(), b.end());
    b.for_loop(begin, end, 1, &[], |b, i, _| {
        let x = b.load(Type::I32, Mem::S32, Addr::new(x).index(i, 4));
        let y = b.load(Type::I32, Mem::S32, Addr::new(y).index(i, 4));
        let f = b.i32(factor);
        let p = b.mul(x, f);
        let s = b.add(p, y);
        b.store(Mem::S32, Narrow::Wrap, Addr::new(out).index(i, 4), s);
        vec![]
    });
    b.finish()
}

/// `flag = x[0] < limit`.
fn below(limit: i32) -> Kernel {
    let mut b = Builder::new(format!("below_{limit}"));
    let (out, x) = (b.ptr_param("flag"), b.ptr_param("x"));
    let x = b.load(Type::I32, Mem::S32, x);
    let limit = b.i32(limit);
    let less = b.cmp(CmpOp::Lt, x, limit);
    let less = b.convert(tflc_kir::ConvertOp::ExtU, Type::I32, less);
    b.store(Mem::U8, Narrow::Wrap, out, less);
    b.finish()
}

/// Status 2 where a negative number is among the units.
fn refuse_negative() -> Kernel {
    let mut b = Builder::new("refuse_negative");
    let x = b.ptr_param("x");
    let (begin, end) = (b.begin(), b.end());
    let ok = b.i32(0);
    let status = b.for_loop(begin, end, 1, &[ok], |b, i, status| {
        let x = b.load(Type::I32, Mem::S32, Addr::new(x).index(i, 4));
        let zero = b.i32(0);
        let bad = b.cmp(CmpOp::Lt, x, zero);
        let two = b.i32(2);
        vec![b.select(bad, two, status[0])]
    });
    b.finish_status(status[0])
}

fn place(region: Region, offset: u64) -> Place {
    Place { region, offset }
}

fn call(kernel: usize, args: &[Place], units: u64, grain: u64) -> Step {
    let location = Location::default();
    Step::Call(Call { kernel, args: args.to_vec(), advance: vec![], units, grain, location, label: String::new() })
}

fn program(steps: Vec<Step>) -> Program {
    let kernels = [scale_add(3), scale_add(1), below(100), refuse_negative()]
        .into_iter()
        .map(|k| Recipe { key: k.name.clone(), build: Arc::new(move || k.clone()) })
        .collect();
    let port = |name: &str| Port { name: name.into(), ty: TensorType::new(DType::Int32, vec![N]), signature: None };
    Program {
        kernels,
        steps,
        weights_bytes: N * 4,
        arena_bytes: 3 * N * 4,
        state_bytes: N * 4,
        inputs: vec![port("x")],
        outputs: vec![port("y")],
        ..Program::default()
    }
}

fn image(program: &Program, cpu: Cpu) -> Image {
    let target = Target::new(cpu);
    let mut compiler = Compiler::new(&target).expect("target");
    let mut functions: Vec<Function> =
        program.kernels.iter().map(|r| Function::new(r.key.clone(), compiler.compile(&(r.build)()).expect("kernel"), vec![])).collect();
    functions.extend(driver(program, &target).expect("driver"));
    Image::new(&functions).expect("image")
}

fn words(values: impl Iterator<Item = i32>) -> Vec<u8> {
    values.flat_map(i32::to_le_bytes).collect()
}

fn numbers(bytes: &[u8]) -> Vec<i32> {
    bytes.chunks(4).map(|c| i32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

/// Runs a program on every machine there is, with and without a pool, and checks that all agree.
fn run(program: &Program, input: Vec<u8>) -> Outcome {
    let machines = [
        (Cpu::X86(X86Level::Baseline), Machine::Native),
        (Cpu::X86(X86Level::V4), Machine::Native),
        (Cpu::Aarch64(ArmLevel::Baseline), Machine::Aarch64),
    ];
    let mut first: Option<Outcome> = None;
    for (cpu, machine) in machines {
        let runner = match Runner::new(machine) {
            Ok(r) => r,
            Err(reason) => {
                eprintln!("not run: {reason:#}");
                continue;
            }
        };
        let image = image(program, cpu);
        let offset = image.offset_of(ENTRY).expect("entry");
        let cases: Vec<Case> = [false, true]
            .map(|pool| Case {
                code: image.bytes.clone(),
                buffers: vec![
                    words((0..N as i32).map(|i| i * 7)),
                    vec![0; program.arena_bytes],
                    words((0..N as i32).map(|i| 1000 + i)),
                    input.clone(),
                    vec![0xEE; N * 4],
                ],
                slots: (0..5).map(|i| Slot::Buffer(i, 0)).collect(),
                entry: Entry::Invoke { offset, inputs: 1, pool },
            })
            .to_vec();
        for outcome in runner.run(&cases).expect("runs") {
            match &first {
                None => first = Some(outcome),
                Some(f) => assert_eq!(*f, outcome, "{cpu} on {machine:?}"),
            }
        }
    }
    first.expect("some machine")
}

const WEIGHTS: Place = Place { region: Region::Weights, offset: 0 };
const INPUT: Place = Place { region: Region::Input(0), offset: 0 };
const OUTPUT: Place = Place { region: Region::Output(0), offset: 0 };

#[test]
fn calls_run_in_order_over_all_units() {
    let (units, half) = (N as u64, place(Region::Arena, 2 * N as u64 * 4));
    let p = program(vec![
        call(0, &[half, INPUT, WEIGHTS], units, 5),
        call(1, &[OUTPUT, half, place(Region::State, 0)], units, units),
        call(1, &[place(Region::State, 0), half, half], units, 16),
    ]);
    let got = run(&p, words((0..N as i32).map(|i| i - 5)));
    assert_eq!(got.status, 0);
    let expected: Vec<i32> = (0..N as i32).map(|i| (i - 5) * 3 + i * 7 + 1000 + i).collect();
    assert_eq!(numbers(&got.buffers[4]), expected);
    let state: Vec<i32> = (0..N as i32).map(|i| 2 * ((i - 5) * 3 + i * 7)).collect();
    assert_eq!(numbers(&got.buffers[2]), state);
}

#[test]
fn a_status_ends_the_run() {
    for grain in [1, N as u64] {
        let p = program(vec![
            call(1, &[OUTPUT, INPUT, WEIGHTS], 1, 1),
            call(3, &[INPUT], N as u64, grain),
            call(1, &[OUTPUT, INPUT, WEIGHTS], N as u64, 1),
        ]);
        let got = run(&p, words((0..N as i32).map(|i| if i == 40 { -1 } else { i })));
        assert_eq!(got.status, 2);
        assert_eq!(got.buffers[4][4..], [0xEE; N * 4 - 4], "the last call must not run");
    }
}

#[test]
fn branches_and_loops_follow_their_conditions() {
    let flag = place(Region::Arena, 4);
    let x = place(Region::Arena, N as u64 * 4);
    let steps = |limit| {
        vec![
            call(1, &[x, INPUT, WEIGHTS], 1, 1),
            Step::While {
                test: vec![call(2, &[flag, x], 1, 1)],
                condition: flag,
                // x = 3x + 7
                body: vec![call(0, &[x, x, place(Region::Weights, 4)], 1, 1)],
                limit,
            },
            Step::If { condition: flag, then: vec![call(0, &[OUTPUT, x, x], 1, 1)], otherwise: vec![call(1, &[OUTPUT, x, x], 1, 1)] },
        ]
    };
    // 1 → 10 → 37 → 118, three rounds; then not below 100.
    let got = run(&program(steps(3)), words(vec![1; N].into_iter()));
    assert_eq!((got.status, numbers(&got.buffers[4])[0]), (0, 236));
    let got = run(&program(steps(2)), words(vec![1; N].into_iter()));
    assert_eq!(got.status, 3);
    let got = run(&program(steps(0)), words(vec![500; N].into_iter()));
    assert_eq!((got.status, numbers(&got.buffers[4])[0]), (0, 1000));
}

#[test]
fn arguments_of_a_repetition_move() {
    // Three steps over rows of two words, the result from the last row to the first; the sum goes through the arena.
    let sum = place(Region::Arena, 0);
    let moving = |kernel, args: &[Place], advance: &[i64]| match call(kernel, args, 1, 1) {
        Step::Call(c) => Step::Call(Call { advance: advance.to_vec(), ..c }),
        other => other,
    };
    let body = vec![moving(1, &[sum, sum, INPUT], &[0, 0, 8]), moving(1, &[place(Region::Output(0), 16), sum, sum], &[-8, 0, 0])];
    let start = call(1, &[sum, WEIGHTS, WEIGHTS], 1, 1);
    let got = run(&program(vec![start, Step::Repeat { count: 3, body }]), words(1..=N as i32));
    assert_eq!(got.status, 0);
    let out = numbers(&got.buffers[4]);
    // Sums of 1, 1 + 3 and 1 + 3 + 5, doubled.
    assert_eq!([out[4], out[2], out[0]], [2, 8, 18]);
}

#[test]
fn long_programs_are_cut_into_parts() {
    let x = place(Region::Arena, 0);
    let mut steps = vec![call(1, &[x, INPUT, WEIGHTS], 1, 1)];
    steps.extend((0..300).map(|_| call(1, &[x, x, place(Region::Weights, 4)], 1, 1)));
    steps.push(call(1, &[OUTPUT, x, x], 1, 1));
    let p = program(steps);
    let names: Vec<String> = image(&p, Cpu::X86(X86Level::Baseline)).symbols.into_iter().map(|s| s.name).collect();
    assert_eq!(names[4..], ["invoke", "invoke_part0", "invoke_part1", "invoke_part2"]);
    let got = run(&p, words(vec![5; N].into_iter()));
    assert_eq!((got.status, numbers(&got.buffers[4])[0]), (0, 2 * (5 + 300 * 7)));
}

#[test]
fn null_and_misaligned_arguments_are_refused() {
    let p = program(vec![call(1, &[OUTPUT, INPUT, WEIGHTS], 1, 1)]);
    let image = image(&p, Cpu::X86(X86Level::Baseline));
    let Ok(runner) = Runner::new(Machine::Native) else { return };
    for bad in 0..5 {
        for slot in [Slot::Value(0), Slot::Buffer(bad, 4)] {
            // Inputs and outputs may have any address.
            if bad >= 3 && slot != Slot::Value(0) {
                continue;
            }
            let mut slots: Vec<Slot> = (0..5).map(|i| Slot::Buffer(i, 0)).collect();
            slots[bad] = slot;
            let buffers = vec![vec![0; N * 4], vec![0; p.arena_bytes], vec![0; N * 4], vec![0; N * 4], vec![0; N * 4]];
            let entry = Entry::Invoke { offset: image.offset_of(ENTRY).expect("entry"), inputs: 1, pool: false };
            let got = runner.run(&[Case { code: image.bytes.clone(), buffers, slots, entry }]).expect("runs");
            assert_eq!(got[0].status, 1, "slot {bad}: {slot:?}");
        }
    }
}

#[test]
fn same_program_same_bytes() {
    let p = program((0..200).map(|i| call(i % 2, &[OUTPUT, INPUT, WEIGHTS], N as u64, 8 + i as u64 % 3)).collect());
    for cpu in [Cpu::X86(X86Level::Baseline), Cpu::Aarch64(ArmLevel::Dotprod)] {
        assert_eq!(image(&p, cpu), image(&p, cpu));
    }
}
