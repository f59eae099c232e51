// pg-boss woken by NOTIFY, two loops that take a thousand at a time and go on while batches are full.
'use strict'
const { load, main } = require('./program.js')
const { PgBoss } = load('pg-boss')

const QUEUE = 'default'
const BATCH = 1000
const LOOPS = 2
const WORKER_CONNECTIONS = 10
let boss

async function start (uri, connections, more = {}) {
  boss = new PgBoss({ connectionString: uri, max: connections, supervise: false, schedule: false, ...more })
  boss.on('error', error => console.error(error.message))
  await boss.start()
}

main({
  async install (uri) {
    await start(uri, 2)
    await boss.createQueue(QUEUE, { notify: true })
    await boss.stop({ graceful: false })
  },
  open: start,
  close: () => boss.stop({ graceful: false }),
  submit: sent => boss.send(QUEUE, { sent }),
  submitBatch: count => boss.insert(QUEUE, Array.from({ length: count }, () => ({ data: { sent: 0 } }))),
  async work (uri, hit) {
    await start(uri, WORKER_CONNECTIONS, { useListenNotify: true })
    await boss.work(
      QUEUE,
      { batchSize: BATCH, burstWhenBatchFull: true, localConcurrency: LOOPS, pollingIntervalSeconds: 0.5 },
      async jobs => { for (const job of jobs) hit(job.data.sent) }
    )
  }
})
