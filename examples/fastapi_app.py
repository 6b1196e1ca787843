"""Label texts within a FastAPI application of your own.

    pip install 'crosstune-export[cpu,serve]'
    BUNDLE=support.bundle uvicorn --app-dir examples fastapi_app:app --port 8000
    curl -s localhost:8000/tickets -H 'content-type: application/json' -d '{"message": "where is my parcel"}'

A label that the bundle gives, or a colleague where it gives none. `crosstune-export serve` is a whole server with limits, metrics and
a page; an application of your own has to bring these itself.
"""

import os
from typing import Annotated

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from crosstune_export import Classifier, DataError

classifier = Classifier.load(os.environ["BUNDLE"])
app = FastAPI(title="Tickets")


class Ticket(BaseModel):
    """A message of a customer."""

    message: Annotated[str, Field(max_length=4000)]


@app.post("/tickets")
def sort_ticket(ticket: Ticket) -> dict[str, str | float]:
    """Return the queue of a ticket; FastAPI runs this in a thread, and a classifier may be shared by threads."""
    try:
        [prediction] = classifier.classify([ticket.message])
    except DataError as error:  # such as a control character
        raise HTTPException(422, str(error)) from error
    return {"queue": prediction.label or "a colleague", "probability": round(prediction.prob, 3)}
