// What program.py is to Python's queues, to Node's: the same requests, answers and gate.
'use strict'
const fs = require('node:fs')
const path = require('node:path')
const { createRequire } = require('node:module')

const BATCH = 1000
const WARM_UP = 20
const STEADY_CALLERS = 16

const request = { callers: 1, seconds: 1, jobs: 0, is_stamped: true, ...JSON.parse(process.argv[2]) }
// The queues stand in a directory of their own, not beside this file.
const load = createRequire(path.join(process.env.PEERS_MODULES, 'here.js'))
// hrtime and Python's monotonic_ns read the same clock.
const clock = () => Number(process.hrtime.bigint())
const seconds = () => clock() / 1e9
const pause = wanted => new Promise(resolve => setTimeout(resolve, Math.max(0, wanted * 1000)))
const times = (count, make) => Array.from({ length: count }, make)

const submitted = {
  async callers (queue) {
    for (let turn = 0; turn < WARM_UP; turn++) {
      await Promise.all(times(request.callers, () => queue.submit(0)))
    }
    const started = seconds()
    let jobs = 0
    await Promise.all(times(request.callers, async () => {
      while (seconds() < started + request.seconds) {
        await queue.submit(0)
        jobs++
      }
    }))
    return { jobs, started }
  },
  async batches (queue) {
    const started = seconds()
    let jobs = 0
    while (request.jobs ? jobs < request.jobs : seconds() < started + request.seconds) {
      await queue.submitBatch(BATCH)
      jobs += BATCH
    }
    return { jobs, started }
  },
  async gaps (queue) {
    const started = seconds()
    for (let jobs = 0; jobs < request.jobs; jobs++) {
      await queue.submit(request.is_stamped ? clock() : 0)
      await pause(request.gap_seconds)
    }
    return { jobs: request.jobs, started }
  },
  async steady (queue) {
    const started = seconds()
    const jobs = Math.floor(request.per_second * request.seconds)
    const open = []
    for (let number = 0; number < jobs; number++) {
      const early = started + number / request.per_second - seconds()
      if (early > 0) await pause(early)
      open.push(queue.submit(clock()))
    }
    await Promise.all(open)
    return { jobs, started }
  }
}

function work (queue) {
  const rows = []
  const hit = sent => rows.push([sent, clock()])
  process.stdin.once('data', () => queue.work(request.uri, hit).catch(fail))
  process.stdin.on('end', () => {
    fs.writeFileSync(process.env.PEERS_HITS, JSON.stringify(rows))
    process.exit(0)
  })
  console.log('ready')
}

async function answer (queue) {
  if (request.kind === 'work') return work(queue)
  if (request.kind === 'install') {
    await queue.install(request.uri)
  } else {
    await queue.open(request.uri, request.kind === 'steady' ? STEADY_CALLERS : request.callers)
    const { jobs, started } = await submitted[request.kind](queue)
    console.log(JSON.stringify({ jobs, seconds: seconds() - started }))
    await queue.close()
  }
  process.exit(0)
}

function fail (error) {
  console.error(error)
  process.exit(1)
}

module.exports = { load, main: queue => { answer(queue).catch(fail) } }
