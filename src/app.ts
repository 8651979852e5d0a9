import { createMiddleware } from 'hono/factory'
import { HonoBase } from 'hono/hono-base'
import { RegExpRouter } from 'hono/router/reg-exp-router'
import { boundedBody } from './admin/admin-request.ts'
import { alertRoutes } from './admin/alerts/alert-routes.ts'
import { batchAdmin } from './admin/batch-admin.ts'
import { cacheRoutes } from './admin/cache-routes.ts'
import { clientRoutes } from './admin/client-routes.ts'
import { events, pageRoutes } from './admin/dashboard/page-routes.ts'
import { historyRoutes } from './admin/history/history-routes.ts'
import { metrics } from './admin/metrics/metrics-route.ts'
import { poolRoutes } from './admin/pool/pool-routes.ts'
import { privateHeaders } from './admin/private-headers.ts'
import { signIn } from './admin/sign-in.ts'
import { batchRoutes } from './batches/routes/batch-routes.ts'
import { gatewayError } from './gateway/answers/gateway-error.ts'
import type { Ports } from './gateway/ports.ts'
import { authenticate } from './http/authenticate.ts'
import { gatewayOf } from './http/composition-root.ts'
import type { HttpEnvironment } from './http/context.ts'
import { errorResponse, logged, PREFIXES } from './http/error-response.ts'
import { logBug } from './http/log.ts'
import { responseHeaders } from './http/response-headers.ts'
import { allowedModels } from './http/routes/allowed-models.ts'
import { CATALOGUE_PATHS, catalogue, createLists } from './http/routes/catalogue.ts'
import { durableAnswerById } from './http/routes/durable-answer.ts'
import { extraPath } from './http/routes/extra-path.ts'
import { generation } from './http/routes/generation.ts'
import { healthz, misconfiguredHealth } from './http/routes/healthz.ts'
import { inference } from './http/routes/inference.ts'
import { clientKey } from './http/routes/own-key.ts'
import { normalisedPath, notServed } from './http/unserved.ts'
import { API_SHAPES } from './openrouter/shapes/shape-registry.ts'

/**
 * Makes the HTTP app: the order of the middleware and the list of routes. `Hono` itself would try this
 * router first, and bring two more for routes that it cannot match. There are none of these.
 */
export function createApp(ports: Ports): HonoBase<HttpEnvironment> {
  const app = new HonoBase<HttpEnvironment>({ getPath: normalisedPath, router: new RegExpRouter() })
  app.use(responseHeaders)
  app.use('/admin/*', privateHeaders)
  app.use(configure(ports))
  app.get('/healthz', healthz)
  app.get('/metrics', privateHeaders, logged, signIn, metrics)
  const lists = createLists()
  const allowed = allowedModels()
  app.use('/admin/api/*', logged, signIn, boundedBody)
  const adminApi = app.basePath('/admin/api')
  clientRoutes(adminApi)
  adminApi.get('/events', events)
  historyRoutes(adminApi)
  cacheRoutes(adminApi)
  batchAdmin(adminApi)
  poolRoutes(adminApi)
  alertRoutes(adminApi)
  pageRoutes(app.basePath('/admin'))
  for (const prefix of PREFIXES) {
    for (const path of ['models', 'embeddings/models'])
      app.use(`${prefix}/${path}`, logged, allowed)
    for (const path of CATALOGUE_PATHS)
      app.get(`${prefix}/${path}`, logged, catalogue(prefix, lists))
    for (const path of ['key', 'auth/key'])
      app.get(`${prefix}/${path}`, logged, authenticate, clientKey)
    app.get(`${prefix}/switchyard/answers/:id`, logged, authenticate, durableAnswerById)
    app.get(`${prefix}/generation`, logged, authenticate, generation)
    for (const path of ['files', 'files/*', 'batches', 'batches/*'])
      app.use(`${prefix}/${path}`, logged, authenticate)
    batchRoutes(app.basePath(prefix))
    for (const shape of API_SHAPES) {
      app.post(`${prefix}/${shape.path}`, authenticate, inference(shape))
    }
    app.post(`${prefix}/*`, extraPath(prefix))
  }
  app.notFound((c) => errorResponse(c, notServed(c)))
  app.onError((error, c) => {
    logBug(c.get('requestId'), error)
    return errorResponse(c, gatewayError('internal_error', 'The gateway failed. Try again.'))
  })
  return app
}

/** Gives the routes their gateway, or answers with an error if the configuration is invalid. */
function configure(ports: Ports) {
  return createMiddleware<HttpEnvironment>(async function configured(c, next) {
    c.set('startedAtMs', ports.nowMs())
    const result = gatewayOf(c.env, ports)
    if (!result.ok) {
      if (c.req.path === '/healthz') return misconfiguredHealth()
      const message =
        'The configuration of this gateway is invalid. Ask its operator: the log lists every fault.'
      return errorResponse(c, gatewayError('gateway_misconfigured', message))
    }
    c.set('gateway', result.gateway)
    return await next()
  })
}
