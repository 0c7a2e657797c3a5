"""FastAPI as its documentation shows file uploads, a thread pool for the work. Arguments: port, threads."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from fastapi import FastAPI, UploadFile
from pipeline import Pipeline

app = FastAPI()
run = Pipeline()
threads = ThreadPoolExecutor(int(sys.argv[2]))


@app.post("/predict")
async def predict(pre_disaster: UploadFile, post_disaster: UploadFile) -> dict:
    pre, post = await pre_disaster.read(), await post_disaster.read()
    return {"found": await asyncio.get_running_loop().run_in_executor(threads, run, pre, post)}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
