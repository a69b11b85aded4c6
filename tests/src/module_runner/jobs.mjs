// Runs a list of jobs through the shipped loader: each is a module, the files of its inputs, and the files that its outputs go to. `read` and
// `write` are the host's way to bytes, so that the same code runs in Node and in a browser.

export async function runJobs({ load }, jobs, read, write) {
  const failures = [];
  for (const job of jobs) {
    let model;
    try {
      const options = { threads: job.threads };
      if (job.weights) options.weights = await read(job.weights);
      model = await load(await read(job.module), options);
      // The second run must give what the first gave.
      const results = [];
      for (let run = 0; run < 2; run++) {
        for (const [i, file] of job.inputs.entries()) {
          const view = model.inputView(i);
          const bytes = new Uint8Array(await read(file));
          if (bytes.length !== view.byteLength) throw new Error(`input ${i} takes ${view.byteLength} bytes, not ${bytes.length}`);
          new Uint8Array(view.buffer, view.byteOffset, view.byteLength).set(bytes);
        }
        if (run > 0) model.reset();
        model.invoke();
        results.push(job.outputs.map((_, i) => {
          const view = model.outputView(i);
          return new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice();
        }));
        // The shapes after the last run, which the run-time sizes of outputs decide.
        await write(`${job.name}.shapes`, JSON.stringify(job.outputs.map((_, i) => model.outputShape(i))));
      }
      for (const [i, file] of job.outputs.entries()) {
        const [first, second] = results.map((r) => r[i]);
        if (!first.every((b, k) => b === second[k])) throw new Error(`output ${i} differs in the second run`);
        await write(file, first);
      }
    } catch (error) {
      failures.push({ job: job.name, error: String(error?.stack ?? error) });
    }
    model?.close();
  }
  return failures;
}
