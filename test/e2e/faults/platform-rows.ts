/** What can fail around the gateway besides upstream, and what happens then. */
export const PLATFORM_FAULTS = [
  {
    fault: 'object throws',
    what: 'The pool’s object throws.',
    happens: 'The keys are taken in turn: a good answer, with `x-switchyard-degraded: pool`.',
  },
  {
    fault: 'object overloaded',
    what: 'The pool’s object is overloaded.',
    happens: 'The same.',
  },
  {
    fault: 'object late',
    what: 'The pool’s object answers late, within two seconds.',
    happens: 'A good answer, later, and every lease is back.',
  },
  {
    fault: 'object hangs',
    what: 'The pool’s object does not answer.',
    happens: 'After two seconds as where it throws.',
  },
  {
    fault: 'kv fails',
    what: 'KV fails.',
    happens: 'Nobody notices: a good answer from the pool’s choice.',
  },
  { fault: 'kv hangs', what: 'KV hangs.', happens: 'The same, at once.' },
  { fault: 'lookup hangs', what: 'A lookup hangs.', happens: 'The same, at once.' },
  {
    fault: 'no object',
    what: 'The binding of the object is missing.',
    happens: '500 `gateway_misconfigured`.',
  },
  {
    fault: 'no kv',
    what: 'The binding of KV is missing.',
    happens: '500 `gateway_misconfigured`.',
  },
  {
    fault: 'slow client',
    what: 'The client reads slowly.',
    happens: 'It gets every byte.',
  },
] as const

const LEAVING = 'test/gateway/cancellation.test.ts'

/**
 * The client leaves, at each stage. The local runtime tells a Worker of it only when it writes, so most
 * rows are met below HTTP, on a virtual clock: each by the test that it names.
 */
export const LEAVERS = [
  {
    when: 'during its upload',
    happens: 'No key is leased, and its memory is free.',
    test: ['test/http/bodies.test.ts', 'one that ends before it is complete'],
  },
  {
    when: 'while a key is leased for it',
    happens: 'No upstream call is made, and the lease is back.',
    test: [LEAVING, 'while a key is being leased is not served, and gives the key back'],
  },
  {
    when: 'while it waits in the queue',
    happens: 'Its place is free at once, for whoever comes next.',
    test: ['test/gateway/waiting.test.ts', 'gives up its place at once, to whoever comes next'],
  },
  {
    when: 'before upstream’s headers',
    happens: 'The upstream call is aborted, the lease is back, and nobody is at fault.',
    test: [LEAVING, 'while headers are awaited'],
  },
  {
    when: 'before the first output',
    happens: 'The same.',
    test: [LEAVING, 'before the first output'],
  },
  {
    when: 'while a whole answer comes',
    happens: 'The same.',
    test: [LEAVING, 'while an answer is read that is not streamed'],
  },
  {
    when: 'during a backoff',
    happens: 'No further key is leased, and no retry is paid for.',
    test: [LEAVING, 'during a backoff ends it, takes no further lease and pays for no retry'],
  },
  {
    when: 'in the middle of a stream',
    happens:
      'The upstream call is aborted, the lease is back, nobody is at fault, and what had come is counted.',
    test: ['test/e2e/raw-streams.test.ts', 'in the middle of a stream of %s'],
  },
  {
    when: 'between the finish and the usage',
    happens: 'Upstream is read on for two seconds, so that the cost is known.',
    test: [
      'test/e2e/raw-streams.test.ts',
      'a client that leaves after the finish and before the usage lets upstream end',
    ],
  },
  {
    when: 'after the end',
    happens: 'It has been answered.',
    test: [LEAVING, 'is not settled again by a client that leaves then'],
  },
] as const
