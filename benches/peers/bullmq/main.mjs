// BullMQ: `node main.mjs URL JOBS SINGLE` fills a queue of a Redis and empties it, and prints its rates.

import { Queue, Worker } from "bullmq";

const [url, jobs, single] = process.argv.slice(2);
const { hostname, port, username, password } = new URL(url);
const connection = { host: hostname, port: Number(port), username, password, maxRetriesPerRequest: null };
const load = { data: "x".repeat(100 - '{"data":""}'.length) };
const options = { removeOnComplete: true, removeOnFail: true };
const perSecond = (count, began) => (count * 1000) / (performance.now() - began);

const queue = new Queue("peers", { connection });
await queue.waitUntilReady();

let began = performance.now();
for (let i = 0; i < Number(single); i++) await queue.add("noop", load, options);
const one = perSecond(Number(single), began);

// In pieces of a thousand, which is no slower than all at once.
began = performance.now();
for (let left = Number(jobs); left > 0; left -= 1000) {
  const piece = Array.from({ length: Math.min(left, 1000) }, () => ({ name: "noop", data: load, opts: options }));
  await queue.addBulk(piece);
}
const bulk = perSecond(Number(jobs), began);

const total = Number(jobs) + Number(single);
began = performance.now();
const drain = await new Promise((resolve) => {
  let ran = 0;
  const noop = async () => {
    if (++ran === total) resolve(perSecond(total, began));
  };
  new Worker("peers", noop, { connection, concurrency: 500 });
});
console.log(JSON.stringify({ bulk, one, drain }));
process.exit(0);
