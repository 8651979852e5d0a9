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
    fault: 'left before headers',
    what: 'The client leaves before upstream’s headers.',
    happens: 'The upstream call is aborted, the lease is back, and nobody is at fault.',
  },
  {
    fault: 'left before output',
    what: 'The client leaves before the first output.',
    happens: 'The same.',
  },
  {
    fault: 'left in stream',
    what: 'The client leaves in the middle of a stream.',
    happens: 'The same; what had come is counted.',
  },
  {
    fault: 'slow client',
    what: 'The client reads slowly.',
    happens: 'It gets every byte.',
  },
] as const
