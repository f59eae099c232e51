// Graphile Worker as its performance page sets it: a local queue, completion in batches.
'use strict'
const { load, main } = require('./program.js')
const { Logger, makeWorkerUtils, run, runMigrations } = load('graphile-worker')
const { Pool } = load('pg')

const CONCURRENT_JOBS = 24
const LOCAL_QUEUE = 500
const logger = new Logger(() => () => {})
let pool, tools

main({
  install: uri => runMigrations({ connectionString: uri, logger }),
  async open (uri, callers) {
    pool = new Pool({ connectionString: uri, max: callers })
    tools = await makeWorkerUtils({ pgPool: pool, logger })
  },
  async close () {
    await tools.release()
    await pool.end()
  },
  submit: sent => tools.addJob('noop', { sent }),
  submitBatch: count =>
    tools.addJobs(Array.from({ length: count }, () => ({ identifier: 'noop', payload: { sent: 0 } }))),
  work: (uri, hit) => run({
    preset: {
      worker: {
        connectionString: uri,
        concurrentJobs: CONCURRENT_JOBS,
        maxPoolSize: CONCURRENT_JOBS + 2,
        localQueue: { size: LOCAL_QUEUE },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
        logger
      }
    },
    noHandleSignals: true,
    taskList: { noop: async payload => { hit(payload.sent) } }
  })
})
