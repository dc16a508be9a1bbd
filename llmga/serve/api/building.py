"""What answers requests, built around models that are loaded."""

import time
from dataclasses import replace
from pathlib import Path

from llmga.assistant.loading import Models, ModelSpec
from llmga.diffusers.joining import batch_of
from llmga.llava.endpoint.address import Endpoint
from llmga.serve.api.engine import Engine
from llmga.serve.api.fair_queue import FairQueue
from llmga.serve.api.fetching import ImageFetcher
from llmga.serve.api.metrics import Metrics, ModelLabels
from llmga.serve.api.options import ServerOptions
from llmga.serve.api.prefix_cache import PrefixCache
from llmga.serve.api.scheduler import RequestScheduler
from llmga.serve.api.service import ServedNames, Service
from llmga.serve.api.tracing import Tracing

LETTERS_PER_TOKEN = 16  # more than any text has on average
UNKNOWN_CONTEXT = 32_768  # tokens, of a language model that does not say


def build_service(
    options: ServerOptions,
    models: Models,
    queue: FairQueue | None = None,
    prefix_cache: PrefixCache | None = None,
) -> Service:
    """Everything that requests need, around models that are loaded, here or elsewhere.

    Args:
        queue: where requests wait; None makes one for this process.
        prefix_cache: where conversations go on; None keeps them in this process.

    Raises:
        UserError: one answer may cost less than the settings want.
    """
    models = bounded(options, models)
    queue = queue or FairQueue(options.at_once, options.queue, options.line)
    metrics, tracing = Metrics(queue), Tracing.to(options.otel)
    hidden, at_once = private(options.spec, models), options.at_once + options.line
    engine = Engine(models, at_once, metrics, hidden, tracing, labels(options))
    scheduler = RequestScheduler(engine, queue)
    metrics.watch("llmga_painter_line", "Pictures that are painted or wait for the painter.",
                  lambda: scheduler.engine.models.lock.waiting)  # fmt: skip
    metrics.watch("llmga_draining", "Requests at work with models that were replaced.", lambda: scheduler.draining)
    return Service(
        scheduler=scheduler,
        engine=engine,
        prefix_cache=prefix_cache or new_prefix_cache(options, models, metrics),
        names=names(options),
        limits=options.limits,
        defaults=options.settings,
        created=int(time.time()),
        fetcher=ImageFetcher(options.limits) if options.remote_pictures else None,
        markdown=options.markdown,
        ignore_tools=options.ignore_tools,
    )


def with_models(service: Service, options: ServerOptions, models: Models) -> Service:
    """The same around other models; queue, figures and traces are shared, caches too where the language model is.

    Raises:
        UserError: one answer may cost less than the settings want.
    """
    models = bounded(options, models)
    engine = service.engine.with_models(models, private(options.spec, models), labels(options))
    same = models.new_chat is service.engine.models.new_chat
    cache = service.prefix_cache if same else new_prefix_cache(options, models, engine.metrics)
    return replace(service, engine=engine, prefix_cache=cache, names=names(options))


def bounded(options: ServerOptions, models: Models) -> Models:
    """The models, with what one answer of the server may cost, and where its paintings meet.

    Raises:
        UserError: that is less than the settings want.
    """
    models = replace(models, bounds=options.spec.bounds.reading(LETTERS_PER_TOKEN * context(models)))
    models.bounds.check_settings(options.settings, models.pipeline)
    return replace(models, batch=batch_of(models.pipeline, options.batch))


def new_prefix_cache(options: ServerOptions, models: Models, metrics: Metrics) -> PrefixCache:
    """An empty cache of conversations, whose use is counted."""

    def told(hit: bool) -> None:
        metrics.prefixes.labels("hit" if hit else "miss").inc()

    return PrefixCache(models.new_chat, options.warm_chats, told)


def labels(options: ServerOptions) -> ModelLabels:
    """What figures call the models."""
    served = names(options)
    return ModelLabels(served.assistant[0], served.pipeline)


def names(options: ServerOptions) -> ServedNames:
    """What clients call the models: the last part of each folder, whatever the rest of the path."""
    mllm = options.spec.mllm
    words = str(mllm.model) if isinstance(mllm, Endpoint) else last_part(mllm)
    return ServedNames((words, *options.served_names), last_part(options.spec.pipeline))


def last_part(path: str | Path | None) -> str:
    """A folder's name, which is all that the world is told of its place."""
    folder = Path(path or "")
    return folder.resolve().name if folder.is_absolute() or folder.exists() else str(path)


def private(spec: ModelSpec, models: Models) -> dict[str, str]:
    """What no answer may hold: where the models lie."""
    hidden = {str(models.pipeline.path): last_part(spec.pipeline)}
    painter = (spec.pipeline, spec.inpainter, spec.editor, spec.unet, spec.vae, spec.tokenizer)
    for path in (spec.mllm, *painter, spec.model_base, spec.restorer_path):
        if isinstance(path, Endpoint):
            hidden[path.shown] = "the language model's server"
        elif path is not None:
            hidden |= {str(path): last_part(path), str(Path(path).resolve()): last_part(path)}
    return hidden


def context(models: Models) -> int:
    """Tokens that the language model reads at once."""
    return models.new_chat().context_length or UNKNOWN_CONTEXT
