"""How good detections are: matching and mAP by hotcoco (the COCO rules), paired bootstrap. No torch."""
