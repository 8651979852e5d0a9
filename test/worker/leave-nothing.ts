import { reset } from 'cloudflare:test'
import { afterAll } from 'vitest'

// All files share one Worker: the next one must find no object, no entry of KV and no file of this one.
afterAll(reset)
